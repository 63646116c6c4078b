// Jamba (AI21 2024), as transformers keeps it: Mamba with norms and some attention, neither with
// positions; experts in some layers.
#include <moe/layers/mixers/mamba.h>
#include <moe/models/hybrid_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace jamba {

Mamba mamba_of(const HfConfig& c) {
  c.ignore({"use_mamba_kernels", "use_associative_scan", "use_mambapy"});
  c.only("mamba_inner_layernorms", {true}, "Mamba without norms");
  Mamba out;
  out.expand = c.size("mamba_expand", 2);
  out.state = c.size("mamba_d_state", 16);
  const bool stated =
      c.has("mamba_dt_rank") && !c.settings().find("mamba_dt_rank")->as<std::string>();
  if (!stated) c.only("mamba_dt_rank", {"auto"}, "another width of step sizes");
  out.step_rank = stated ? c.size("mamba_dt_rank") : (c.size("hidden_size") + 15) / 16;
  out.width = c.size("mamba_d_conv", 4);
  out.conv_bias = c.flag("mamba_conv_bias", true);
  out.bias = c.flag("mamba_proj_bias", false);
  out.activation = activation_of(c, "hidden_act");
  out.norms = true;
  return out;
}

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"num_logits_to_keep", "calc_logits_for_entire_prompt"});
  c.only("sliding_window", {"null"}, "sliding windows");
  Attention attention;
  attention.heads = c.size("num_attention_heads");
  attention.kv_heads = c.size("num_key_value_heads", attention.heads);
  attention.head_dim = c.size("head_dim", c.size("hidden_size") / attention.heads);
  attention.rope.kind = "none";
  const Mamba mamba = mamba_of(c);
  const int64_t width = c.size("intermediate_size");
  layers::BlockSpec block;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = c.size("max_position_embeddings", 262144);
  const int64_t attention_step = c.size("attn_layer_period", 8),
                attention_first = c.count("attn_layer_offset", 4),
                expert_step = c.size("expert_layer_period", 2),
                expert_first = c.count("expert_layer_offset", 1),
                experts = c.size("num_experts", 16);
  TopKRouter router;
  router.renormalise = false;
  layers::MoELayerOptions mixture;
  mixture.num_experts = experts;
  mixture.top_k = c.size("num_experts_per_tok", 2);
  mixture.router = router;
  mixture.expert = expert_of(c, width);
  mixture.balance = balance_of(c);
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    const auto layer = static_cast<int64_t>(i);
    auto& out = o.blocks[i];
    if (layer % attention_step == attention_first)
      out.mixer = attention;
    else
      out.mixer = mamba;
    if (experts > 1 && layer % expert_step == expert_first)
      out.feed_forward = mixture;
    else
      out.feed_forward = dense_of(c, width);
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  const std::string mamba = theirs + "mamba.", our_mamba = ours + "mamba.",
                    mlp = theirs + "feed_forward.";
  NameMap out = hybrid_names(o, {"attention", "mamba"}, "input_layernorm", "pre_ff_layernorm",
                             "final_layernorm");
  add_attention(out);
  add_convolution(out, mamba + "conv1d", our_mamba + "conv", our_mamba + "conv_bias");
  for (const bool bias : {false, true}) {
    const std::string kind = bias ? ".bias" : ".weight", letter = bias ? "b_" : "w_";
    out.add(same(mamba + "in_proj" + kind, our_mamba + letter + "in"));
    out.add(same(mamba + "out_proj" + kind, our_mamba + letter + "o"));
    out.add(same(mamba + "dt_proj" + kind, our_mamba + letter + "dt"));
  }
  out.add(same(mamba + "x_proj.weight", our_mamba + "w_x"));
  for (const std::string norm : {"dt", "b", "c"})
    out.add(same(mamba + norm + "_layernorm.weight", our_mamba + norm + "_norm.scale"));
  out.add(same(mamba + "A_log", our_mamba + "a_log"));
  out.add(same(mamba + "D", our_mamba + "d"));
  out.add(same(mlp + "router.weight", ours + "moe.router.weight"));
  add_named_experts(out, mlp, ours + "moe.");
  add_dense(out, mlp, ours + "dense.");
  return out;
}

/// The step from one layer to the next of those that are marked, and the first; where there is
/// none, a first that no layer reaches.
std::pair<int64_t, int64_t> step_and_first(const std::vector<bool>& marked) {
  const auto layers = static_cast<int64_t>(marked.size());
  std::vector<int64_t> places;
  for (int64_t i = 0; i < layers; ++i)
    if (marked[static_cast<size_t>(i)]) places.push_back(i);
  if (places.empty()) return {layers + 1, layers};
  if (places.size() == 1) return {layers, places[0]};
  return {places[1] - places[0], places[0]};
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const auto mamba = first_mixer<Mamba>(o);
  std::vector<bool> attends;
  for (const auto& block : parts.blocks) attends.push_back(block.mixer.kind == "attention");
  const auto [attention_step, attention_first] = step_and_first(attends);
  const auto [expert_step, expert_first] = step_and_first(parts.sparse);
  const bool sparse = parts.dense_prefix() < parts.layers();
  Table out = hybrid_config(o, "JambaForCausalLM", "jamba");
  out.set("attn_layer_period", attention_step);
  out.set("attn_layer_offset", attention_first);
  out.set("expert_layer_period", expert_step);
  out.set("expert_layer_offset", expert_first);
  out.set("mamba_expand", mamba.expand);
  out.set("mamba_d_state", mamba.state);
  out.set("mamba_dt_rank", mamba.step_rank);
  out.set("mamba_d_conv", mamba.width);
  out.set("mamba_conv_bias", mamba.conv_bias);
  out.set("mamba_proj_bias", mamba.bias);
  out.set("intermediate_size", sparse ? parts.expert.d_ff : parts.dense.d_ff);
  out.set("num_experts", sparse ? parts.mixture.num_experts : 1);
  out.set("num_experts_per_tok", sparse ? parts.mixture.top_k : 1);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", hf_activation(sparse ? parts.expert.activation : parts.dense.activation));
  return out;
}

}  // namespace jamba

MOE_FAMILY(jamba)

}  // namespace moe::models
