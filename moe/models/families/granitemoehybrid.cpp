// Granite 4 hybrids (IBM 2025), as transformers keeps them: Mamba-2 and some attention, Granite's
// multipliers, a shared block beside the experts or alone.
#include <algorithm>
#include <cmath>
#include <limits>

#include <moe/base/error.h>
#include <moe/layers/mixers/mamba2.h>
#include <moe/models/granite_family.h>
#include <moe/models/hybrid_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace granitemoehybrid {

constexpr const char *kMamba = "mamba", *kAttention = "attention";

/// Bounds of the step sizes; infinity stands for none.
void read_step_limits(Mamba2& mamba, const HfConfig& c) {
  if (!c.has("time_step_limit")) return;
  const auto* list = c.settings().find("time_step_limit")->as<Array>();
  const auto number = [&](size_t i) {
    const Value* value = &(*list)[i];
    if (const auto* table = value->as<Table>(); table && table->find("__float__"))
      value = table->find("__float__");  // as transformers 5 writes what JSON has no number for
    if (const auto* whole = value->as<int64_t>()) return static_cast<double>(*whole);
    const auto* text = value->as<std::string>();
    if (text && *text == "Infinity") return std::numeric_limits<double>::infinity();
    const auto* real = value->as<double>();
    return real ? *real : std::numeric_limits<double>::quiet_NaN();
  };
  const bool pair = list && list->size() == 2 && number(0) >= 0 && number(1) > 0;
  check(pair, "models/config.json", "expected two bounds of at least 0 at 'time_step_limit' in ",
        c.source(), ", got ", c.settings().find("time_step_limit")->text(), ". Correct the file.");
  mamba.least_step = number(0);
  if (number(1) < std::numeric_limits<double>::infinity()) mamba.largest_step = number(1);
}

Mamba2 mamba_of(const HfConfig& c) {
  c.ignore({"mamba_chunk_size", "time_step_min", "time_step_max", "time_step_floor"});
  const int64_t channels = c.size("mamba_expand", 2) * c.size("hidden_size");
  Mamba2 out;
  out.heads = c.size("mamba_n_heads", 128);
  const bool stated =
      c.has("mamba_d_head") && !c.settings().find("mamba_d_head")->as<std::string>();
  if (!stated) c.only("mamba_d_head", {"auto"}, "another width of heads");
  out.head_dim = stated ? c.size("mamba_d_head") : channels / out.heads;
  check(out.heads * out.head_dim == channels, "models/config.json",
        "expected mamba_n_heads · mamba_d_head = mamba_expand · hidden_size in ", c.source(),
        ", got ", out.heads, " · ", out.head_dim, " and ", channels, ". Correct the file.");
  out.state = c.size("mamba_d_state", 256);
  out.groups = c.size("mamba_n_groups", 1);
  out.norm_groups = out.groups;
  out.width = c.size("mamba_d_conv", 4);
  out.conv_bias = c.flag("mamba_conv_bias", true);
  out.bias = c.flag("mamba_proj_bias", false);
  out.activation = activation_of(c, "hidden_act");
  read_step_limits(out, c);
  return out;
}

/// Which layers are of attention, in either dialect.
std::vector<bool> attention_layers(const HfConfig& c) {
  const int64_t layers = c.size("num_hidden_layers");
  std::vector<bool> out;
  for (const auto& kind :
       c.texts("layer_types", layers, {kMamba, kAttention, kLinearAttention, kFullAttention}))
    out.push_back(kind == kAttention || kind == kFullAttention);
  out.resize(static_cast<size_t>(layers));
  return out;
}

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"init_method"});
  c.only("normalization_function", {"rmsnorm"}, "another norm");
  c.only("position_embedding_type", {"rope", "nope"}, "other positions");
  Attention attention = llama_attention(c, 10000);
  attention.scale = c.number("attention_multiplier", 1);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  if (c.text("position_embedding_type", "nope") == "nope") attention.rope = {.kind = "none"};
  const Mamba2 mamba = mamba_of(c);
  const Dense shared = dense_of(c, c.size("shared_intermediate_size", 1024));
  layers::BlockSpec block;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  block.mixer_scale = block.feed_forward_scale = c.number("residual_multiplier", 1);
  if (c.count("num_local_experts", 8) > 0) {
    TopKRouter router;
    router.softmax = "after";
    layers::MoELayerOptions mixture;
    mixture.num_experts = c.size("num_local_experts", 8);
    mixture.top_k = c.size("num_experts_per_tok", 2);
    mixture.router = router;
    mixture.expert = expert_of(c, c.size("intermediate_size"));
    mixture.balance = balance_of(c);
    mixture.shared = shared;
    block.feed_forward = mixture;
  } else {
    c.ignore({"num_experts_per_tok", "intermediate_size"});
    block.feed_forward = shared;
  }
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 2048);
  o.embedding_scale = c.number("embedding_multiplier", 1);
  o.logit_scale = 1 / c.number("logits_scaling", 1);
  const auto attends = attention_layers(c);
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    if (attends[i])
      o.blocks[i].mixer = attention;
    else
      o.blocks[i].mixer = mamba;
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  const std::string mamba = theirs + "mamba.", our_mamba = ours + "mamba2.";
  NameMap out = granite_names(o);
  out.add(same(theirs + "input_layernorm.weight", ours + "mamba2_norm.scale"));
  add_convolution(out, mamba + "conv1d", our_mamba + "conv", our_mamba + "conv_bias");
  for (const bool bias : {false, true}) {
    const std::string kind = bias ? ".bias" : ".weight", letter = bias ? "b_" : "w_";
    out.add(same(mamba + "in_proj" + kind, our_mamba + letter + "in"));
    out.add(same(mamba + "out_proj" + kind, our_mamba + letter + "o"));
  }
  out.add(same(mamba + "dt_bias", our_mamba + "dt_bias"));
  out.add(same(mamba + "A_log", our_mamba + "a_log"));
  out.add(same(mamba + "D", our_mamba + "d"));
  out.add(same(mamba + "norm.weight", our_mamba + "norm_scale"));
  out.add(same(theirs + "shared_mlp.input_linear.weight", ours + "dense.w_in"));
  out.add(same(theirs + "shared_mlp.output_linear.weight", ours + "dense.w_out"));
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const auto attention = first_mixer<Attention>(o);
  const auto mamba = first_mixer<Mamba2>(o);
  const bool sparse = parts.dense_prefix() < parts.layers();
  const int64_t channels = mamba.heads * mamba.head_dim;
  Table out = hybrid_config(o, "GraniteMoeHybridForCausalLM", "granitemoehybrid");
  out.set("layer_types", layer_kinds(parts.blocks, kAttention, kMamba));
  out.set("position_embedding_type", attention.rope.kind == "none" ? "nope" : "rope");
  out.set("attention_bias", attention.bias);
  out.set("attention_multiplier", attention.scale);
  out.set("mamba_n_heads", mamba.heads);
  out.set("mamba_d_head", mamba.head_dim);
  out.set("mamba_expand", std::max<int64_t>(1, channels / o.d_model));
  out.set("mamba_d_state", mamba.state);
  out.set("mamba_n_groups", mamba.groups);
  out.set("mamba_d_conv", mamba.width);
  out.set("mamba_conv_bias", mamba.conv_bias);
  out.set("mamba_proj_bias", mamba.bias);
  if (mamba.least_step > 0 || mamba.largest_step > 0)
    out.set("time_step_limit",
            Array{mamba.least_step, mamba.largest_step > 0
                                        ? Value(mamba.largest_step)
                                        : Value(table_of({{"__float__", "Infinity"}}))});
  out.set("shared_intermediate_size", sparse ? parts.shared.d_ff : parts.dense.d_ff);
  out.set("num_local_experts", sparse ? parts.mixture.num_experts : 0);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("intermediate_size", parts.expert.d_ff);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", hf_activation(sparse ? parts.expert.activation : parts.dense.activation));
  out.set("residual_multiplier", parts.blocks.front().mixer_scale);
  out.set("embedding_multiplier", o.embedding_scale);
  out.set("logits_scaling", divisor_of(o.logit_scale));
  return out;
}

}  // namespace granitemoehybrid

MOE_FAMILY(granitemoehybrid)

}  // namespace moe::models
