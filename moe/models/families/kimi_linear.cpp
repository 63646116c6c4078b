// Kimi Linear (Moonshot 2025), as transformers keeps it: Kimi delta attention and some latent
// attention without positions, DeepSeek-V3's experts.
#include <algorithm>

#include <moe/base/error.h>
#include <moe/layers/mixers/kimi_delta_attention.h>
#include <moe/layers/mixers/latent_attention.h>
#include <moe/models/hybrid_family.h>

namespace moe::models {

namespace kimi_linear {

constexpr const char* kKimiDelta = "kda_attention";
constexpr const char* kPlaceOfKimi = "models/config.json";

/// The name that config.json has for a setting, of those of published files and of transformers;
/// the first where it has none. The others are passed over.
const char* name_of(const HfConfig& c, std::initializer_list<const char*> names) {
  const char* out = nullptr;
  for (const char* name : names)
    if (c.has(name) && !out) out = name;
  return out ? out : *names.begin();
}

/// Numbers of heads and widths, from either dialect.
KimiDeltaAttention delta_of(const HfConfig& c) {
  const HfConfig nested = c.inside("linear_attn_config");
  KimiDeltaAttention out;
  out.heads = nested.size("num_heads",
                          c.size(name_of(c, {"linear_num_heads", "linear_num_key_heads"}), 32));
  out.head_dim =
      nested.size("head_dim", c.size(name_of(c, {"linear_head_dim", "linear_key_head_dim"}), 128));
  out.width = nested.size("short_conv_kernel_size", c.size("linear_conv_kernel_dim", 4));
  out.activation = activation_of(c, "hidden_act");
  // Values are as many and as wide as keys.
  c.only("linear_num_value_heads", {out.heads}, "another number of value heads");
  c.only("linear_value_head_dim", {out.head_dim}, "another width of values");
  return out;
}

LatentAttention latent_of(const HfConfig& c) {
  c.only("mla_use_nope", {true}, "latent attention with positions");
  c.only("mla_use_output_gate", {false}, "latent attention with a gate");
  c.only("attention_bias", {false}, "biases of attention");
  // Nothing turns; and head_dim is that of no layer.
  c.ignore({"head_dim", "num_key_value_heads", "rope_theta", "rope_scaling*", "rope_parameters*",
            "rope_interleave", "partial_rotary_factor"});
  LatentAttention out;
  out.heads = c.size("num_attention_heads", 32);
  out.q_rank = c.count("q_lora_rank", 0);
  out.kv_rank = c.size("kv_lora_rank", 512);
  out.nope_dim = c.size("qk_nope_head_dim", 128);
  out.rope_dim = c.size("qk_rope_head_dim", 64);
  out.value_dim = c.size("v_head_dim", 128);
  out.rope.kind = "none";
  c.only("qk_head_dim", {out.nope_dim + out.rope_dim}, "other widths than those of its parts");
  return out;
}

/// Which layers are of latent attention: lists of layers counted from 1, or layer_types.
std::vector<bool> latent_layers(const HfConfig& c) {
  const int64_t layers = c.size("num_hidden_layers");
  const HfConfig nested = c.inside("linear_attn_config");
  const auto full = nested.indices("full_attn_layers"), delta = nested.indices("kda_layers");
  if (c.has("layer_types") || (full.empty() && delta.empty()))
    return full_attention_layers(c, {kLinearAttention, kKimiDelta},
                                 [](int64_t i) { return (i + 1) % 4 == 0; });
  std::vector<bool> out(static_cast<size_t>(layers));
  for (int64_t layer = 1; layer <= layers; ++layer) {
    const bool in_full = std::ranges::count(full, layer) > 0,
               in_delta = std::ranges::count(delta, layer) > 0;
    check(in_full != in_delta, kPlaceOfKimi, "expected layer ", layer,
          " in one of full_attn_layers and kda_layers, which count from 1, of ", c.source(),
          ", got it in ", in_full ? "both" : "none", ". Correct the file.");
    out[static_cast<size_t>(layer - 1)] = in_full;
  }
  return out;
}

SigmoidRouter router_of(const HfConfig& c) {
  c.only("moe_router_activation_func", {"sigmoid"}, "another rule of selection");
  c.only("scoring_func", {"sigmoid"}, "another rule of selection");
  c.only("topk_method", {"noaux_tc"}, "another rule of selection");
  SigmoidRouter out;
  out.renormalise = c.flag(name_of(c, {"moe_renormalize", "norm_topk_prob"}), true);
  out.scale = c.number("routed_scaling_factor", 2.446);
  out.groups = c.size(name_of(c, {"num_expert_group", "n_group"}), 1);
  out.kept_groups = c.size("topk_group", 1);
  if (!c.flag("use_grouped_topk", true)) out.groups = 1;
  if (out.groups == 1) out.kept_groups = 0;
  out.bias_rate = 0;
  return out;
}

/// Layers without experts: mlp_layer_types, or the first ones.
std::vector<bool> dense_layers(const HfConfig& c) {
  const int64_t layers = c.size("num_hidden_layers"), first = c.count("first_k_dense_replace", 1),
                every = c.size("moe_layer_freq", 1);
  std::vector<bool> out;
  for (const auto& kind : c.texts("mlp_layer_types", layers, {"dense", "sparse"}))
    out.push_back(kind == "dense");
  if (out.empty())
    for (int64_t i = 0; i < layers; ++i) out.push_back(i < first || i % every != 0);
  return out;
}

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"num_nextn_predict_layers", "num_mtp_layers"});  // layers behind the model's own
  c.ignore({"activation_situ_*"});                           // of another activation
  c.only("attn_res_block_size", {0}, "attention over the residuals of blocks");
  const int64_t width = c.size("moe_intermediate_size", 1024),
                shared = c.count(name_of(c, {"num_shared_experts", "n_shared_experts"}), 1);
  layers::MoELayerOptions mixture;
  mixture.num_experts =
      c.size(name_of(c, {"num_experts", "n_routed_experts", "num_local_experts"}), 256);
  mixture.top_k = c.size(name_of(c, {"num_experts_per_token", "num_experts_per_tok"}), 8);
  mixture.router = router_of(c);
  mixture.expert = expert_of(c, width);
  mixture.shared = shared_experts(c, shared, width);
  mixture.balance = balance_of(c);
  layers::BlockSpec block;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.tied_embeddings = false;  // whatever config.json says: files hold both matrices
  o.context_length = c.size(name_of(c, {"model_max_length", "max_position_embeddings"}), 1048576);
  const auto latent = latent_layers(c), dense = dense_layers(c);
  const auto latent_attention = latent_of(c);
  const auto delta_attention = delta_of(c);
  const int64_t dense_width = c.size("dense_ffn_hidden", c.size("intermediate_size", 9216));
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    if (latent[i])
      o.blocks[i].mixer = latent_attention;
    else
      o.blocks[i].mixer = delta_attention;
    if (dense[i])
      o.blocks[i].feed_forward = dense_of(c, dense_width);
    else
      o.blocks[i].feed_forward = mixture;
  }
  return o;
}

void add_latent_names(NameMap& out, const std::string& theirs, const std::string& ours) {
  for (const auto& [name, parameter] :
       {std::pair{"q_proj.weight", "w_q"}, std::pair{"q_a_proj.weight", "w_q_a"},
        std::pair{"q_a_layernorm.weight", "q_norm.scale"}, std::pair{"q_b_proj.weight", "w_q_b"},
        std::pair{"kv_a_proj_with_mqa.weight", "w_kv_a"},
        std::pair{"kv_a_layernorm.weight", "kv_norm.scale"},
        std::pair{"kv_b_proj.weight", "w_kv_b"}, std::pair{"o_proj.weight", "w_o"}})
    out.add(same(theirs + name, ours + parameter));
}

void add_delta_names(NameMap& out, const std::string& theirs, const std::string& ours) {
  for (const std::string letter : {"q", "k", "v"}) {
    out.add(same(theirs + letter + "_proj.weight", ours + "w_" + letter));
    add_convolution(out, theirs + letter + "_conv1d", ours + letter + "_conv", "");
  }
  for (const std::string letters : {"f_a", "f_b", "g_a", "g_b", "b", "o"})
    out.add(same(theirs + letters + "_proj.weight", ours + "w_" + letters));
  out.add(same(theirs + "dt_bias", ours + "dt_bias"));
  out.add(arranged(same(theirs + "A_log", ours + "a_log"), with_ones({0, 1, 3})));
  out.add(same(theirs + "o_norm.weight", ours + "norm.scale"));
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.", mixture = ours + "moe.";
  const std::string older = theirs + "block_sparse_moe.", newer = theirs + "mlp.",
                    bias = "gate.e_score_correction_bias";
  NameMap out = hybrid_names(o, {"latent_attention", "kimi_delta_attention"}, "input_layernorm",
                             "post_attention_layernorm", "norm");
  add_latent_names(out, theirs + "self_attn.", ours + "latent_attention.");
  add_delta_names(out, theirs + "self_attn.", ours + "kimi_delta_attention.");
  add_gate(out, older, mixture);
  out.add(same(older + bias, mixture + "router.selection_bias"));
  out.otherwise({same(newer + bias, mixture + "router.selection_bias")});
  add_numbered_experts(out, older, mixture);
  NameMap named = {};
  add_named_experts(named, newer, mixture);
  out.otherwise(named);
  NameMap shared = {}, dense = {};
  add_dense(out, older + "shared_experts.", mixture + "shared.");
  add_dense(shared, newer + "shared_experts.", mixture + "shared.");
  out.otherwise(shared);
  add_dense(out, newer, ours + "dense.");
  add_dense(dense, older, ours + "dense.");
  out.otherwise(dense);
  skip_prediction_layers(out, static_cast<int64_t>(o.block_specs().size()));
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const auto latent = first_mixer<LatentAttention>(o);
  const auto delta = first_mixer<KimiDeltaAttention>(o);
  const auto router = parts.mixture.router.kind == "sigmoid"
                          ? kind_options<SigmoidRouter>(parts.mixture.router)
                          : SigmoidRouter();
  Array full, linear, kinds;
  for (size_t i = 0; i < parts.blocks.size(); ++i) {
    const bool attends = parts.blocks[i].mixer.kind == "latent_attention";
    (attends ? full : linear).emplace_back(static_cast<int64_t>(i + 1));
    kinds.emplace_back(parts.sparse[i] ? "sparse" : "dense");
  }
  Table nested = table_of({{"full_attn_layers", std::move(full)},
                           {"kda_layers", std::move(linear)},
                           {"head_dim", delta.head_dim},
                           {"num_heads", delta.heads},
                           {"short_conv_kernel_size", delta.width}});
  Table out = table_of({{"architectures", Array{"KimiLinearForCausalLM"}},
                        {"model_type", "kimi_linear"},
                        {"vocab_size", o.vocabulary},
                        {"hidden_size", o.d_model},
                        {"num_hidden_layers", parts.layers()},
                        {"rms_norm_eps", parts.blocks.front().norm_epsilon},
                        {"model_max_length", o.context_length},
                        {"tie_word_embeddings", o.tied_embeddings},
                        {"linear_attn_config", std::move(nested)},
                        {"mlp_layer_types", std::move(kinds)}});
  out.set("num_attention_heads", latent.heads);
  out.set("num_key_value_heads", latent.heads);
  out.set("q_lora_rank", latent.q_rank > 0 ? Value(latent.q_rank) : Value());
  if (latent.kv_rank > 0) {
    out.set("kv_lora_rank", latent.kv_rank);
    out.set("qk_nope_head_dim", latent.nope_dim);
    out.set("qk_rope_head_dim", latent.rope_dim);
    out.set("v_head_dim", latent.value_dim);
  }
  out.set("mla_use_nope", true);
  out.set("intermediate_size", parts.dense.d_ff);
  out.set("moe_intermediate_size", parts.expert.d_ff);
  out.set("hidden_act", hf_activation(parts.expert.activation));
  out.set("num_experts", parts.mixture.num_experts);
  out.set("num_experts_per_token", parts.mixture.top_k);
  out.set("num_shared_experts", parts.shared_count());
  out.set("moe_router_activation_func", "sigmoid");
  out.set("moe_renormalize", router.renormalise);
  out.set("routed_scaling_factor", router.scale);
  out.set("num_expert_group", router.groups);
  out.set("topk_group", std::max<int64_t>(router.kept_groups, 1));
  out.set("use_grouped_topk", true);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  return out;
}

}  // namespace kimi_linear

MOE_FAMILY(kimi_linear)

}  // namespace moe::models
