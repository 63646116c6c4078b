// Hunyuan-A13B (Tencent 2025), as transformers keeps it: norms of queries and keys behind the
// rotation, a shared block, numbers of experts that may differ by layer.
#include <algorithm>
#include <numeric>

#include <moe/models/moe_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace hunyuan_v1_moe {

/// `key` of config.json: one whole number, or a list with one for each layer.
std::vector<int64_t> by_layer(const HfConfig& c, const char* key, int64_t fallback) {
  const int64_t layers = c.size("num_hidden_layers");
  const Value* value = c.settings().find(key);
  if (value && value->as<Array>()) return c.counts(key, layers);
  std::vector<int64_t> out;
  out.assign(static_cast<size_t>(layers), c.count(key, fallback));
  return out;
}

/// One whole number where all are alike.
Value as_key(const std::vector<int64_t>& numbers) {
  Array out;
  for (const int64_t number : numbers) out.emplace_back(number);
  const bool alike = std::equal(numbers.begin() + 1, numbers.end(), numbers.begin());
  return alike ? out.front() : Value(std::move(out));
}

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  // Of training, of images, and of parts that are switched off.
  c.ignore({"add_classification_head",
            "anyres_*",
            "attention_head_dim",
            "capacity_factor",
            "cla_share_factor",
            "class_num",
            "dense_list",
            "eod_token_id",
            "im_*",
            "image_token_id",
            "kv_lora_rank",
            "mask_init_id",
            "moe_drop_tokens",
            "moe_random_routing_dropped_token",
            "num_media_embeds",
            "org_vocab_size",
            "pad_id",
            "pool_type",
            "q_lora_rank",
            "qk_nope_head_dim",
            "qk_rope_head_dim",
            "skip_cls_token",
            "text_end_id",
            "text_start_id",
            "v_head_dim",
            "video_*",
            "vit_*"});
  c.only("norm_type", {"rms", "hf_rms", "fused"}, "another norm");
  c.only("norm_topk_prob", {true}, "weights that are not renormalised");
  c.only("routed_scaling_factor", {1, false}, "scaled weights");
  for (const char* groups : {"n_group", "topk_group"})
    c.only(groups, {1, false}, "selection within groups");
  c.only("use_rotary_pos_emb", {true}, "attention without positions");
  for (const char* off :
       {"use_cla", "use_mla", "mlp_bias", "group_limited_greedy", "position_embedding_xdrope"})
    c.only(off, {false}, "that part of the architecture");
  Attention attention = llama_attention(c, 10000);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  if (c.flag("use_qk_norm", true)) {
    attention.qk_norm = "head";
    attention.qk_norm_position = "after";
  }
  const int64_t d_ff = c.size("intermediate_size");
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = dense_of(c, d_ff);
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 2048);
  const auto experts = by_layer(c, "num_experts", 1), choices = by_layer(c, "moe_topk", 1),
             widths = by_layer(c, "moe_intermediate_size", d_ff),
             shared = by_layer(c, "num_shared_expert", 1);
  const bool mixed = c.flag("use_mixed_mlp_moe", true);
  const auto skipped = static_cast<size_t>(c.count("moe_layer_num_skipped", 0));
  layers::MoELayerOptions mixture;
  mixture.router = TopKRouter{};
  mixture.balance = balance_of(c);
  for (size_t i = skipped; i < o.blocks.size(); ++i) {
    mixture.num_experts = experts[i];
    mixture.top_k = choices[i];
    mixture.expert = expert_of(c, widths[i]);
    mixture.shared = shared_experts(c, mixed ? shared[i] : 0, d_ff);
    o.blocks[i].feed_forward = mixture;
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.mlp.", ours = "layers.{i}.moe.";
  NameMap out = llama_names(o);
  add_qk_norms(out, "query_layernorm", "key_layernorm");
  out.add(same(theirs + "gate.wg.weight", ours + "router.weight"));
  add_named_experts(out, theirs, ours);
  add_dense(out, theirs + "shared_mlp.", ours + "shared.");
  add_dense(out, theirs, "layers.{i}.dense.");
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const Attention attention = parts.attention(0);
  Table out = llama_config(o, "HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe");
  std::vector<int64_t> experts, choices, widths, shared;
  std::vector<int64_t> shared_widths;
  for (size_t i = 0; i < parts.blocks.size(); ++i) {
    layers::MoELayerOptions mixture = parts.mixture;
    if (parts.sparse[i])
      mixture = kind_options<layers::MoELayerOptions>(parts.blocks[i].feed_forward);
    experts.push_back(mixture.num_experts);
    choices.push_back(mixture.top_k);
    widths.push_back(mixture.expert.d_ff > 0 ? mixture.expert.d_ff : 4 * o.d_model);
    const bool present = layers::is_present(mixture.shared);
    shared_widths.push_back(present ? kind_options<Dense>(mixture.shared).d_ff : 0);
  }
  // Shared blocks are counted in widths of a dense layer.
  int64_t d_ff = 0;
  for (const int64_t width : shared_widths) d_ff = std::gcd(d_ff, width);
  if (parts.dense_prefix() > 0) d_ff = parts.dense.d_ff;
  if (d_ff == 0) d_ff = parts.expert.d_ff;
  for (const int64_t width : shared_widths) shared.push_back(width / d_ff);
  out.set("attention_bias", attention.bias);
  out.set("use_qk_norm", attention.qk_norm == "head");
  out.set("intermediate_size", d_ff);
  out.set("num_experts", as_key(experts));
  out.set("moe_topk", as_key(choices));
  out.set("moe_intermediate_size", as_key(widths));
  out.set("num_shared_expert", as_key(shared));
  out.set("moe_layer_num_skipped", parts.dense_prefix());
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", hf_activation(parts.expert.activation));
  return out;
}

}  // namespace hunyuan_v1_moe

MOE_FAMILY(hunyuan_v1_moe)

}  // namespace moe::models
