// Qwen3-Next (Qwen 2025), as transformers keeps it.
#include <algorithm>

#include <moe/layers/mixers/gated_delta_net.h>
#include <moe/models/qwen_hybrid_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace qwen3_next {

DecoderOptions options(const HfConfig& c) {
  DecoderOptions o = qwen_hybrid_decoder(c);
  const auto layers = static_cast<int64_t>(o.blocks.size());
  const auto dense_layers = c.indices("mlp_only_layers");
  const int64_t step = c.size("decoder_sparse_step", 1);
  const bool renormalise = c.flag("norm_topk_prob", true);
  const bool has_experts = c.count("num_experts", 512) > 0;
  const int64_t width = c.size("intermediate_size", 5632);
  for (int64_t i = 0; i < layers; ++i) {
    auto& block = o.blocks[static_cast<size_t>(i)];
    if (has_experts && (i + 1) % step == 0 && std::ranges::count(dense_layers, i) == 0)
      block.feed_forward = qwen_hybrid_mixture(c, renormalise);
    else
      block.feed_forward = dense_of(c, width);
  }
  // Of layers that are not there.
  c.ignore({"num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size"});
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.gated_delta_net.";
  NameMap out = qwen_hybrid_names(o);
  const auto delta = first_mixer<GatedDeltaNet>(o);
  const int64_t per_key = delta.value_heads / delta.key_heads, values = per_key * delta.value_dim;
  // For each key head its query, key, values and gates.
  out.add(arranged(fused(theirs + "linear_attn.in_proj_qkvz.weight",
                         {{ours + "w_q"}, {ours + "w_k"}, {ours + "w_v"}, {ours + "w_z"}}),
                   heads_split(delta.key_heads, {delta.key_dim, delta.key_dim, values, values})));
  out.add(
      arranged(fused(theirs + "linear_attn.in_proj_ba.weight", {{ours + "w_b"}, {ours + "w_a"}}),
               heads_split(delta.key_heads, {per_key, per_key})));
  add_named_experts(out, theirs + "mlp.", "layers.{i}.moe.");
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = qwen_hybrid_config(o, "Qwen3NextForCausalLM", "qwen3_next");
  Array dense_layers;
  for (size_t i = 0; i < parts.blocks.size(); ++i)
    if (!parts.sparse[i]) dense_layers.push_back(static_cast<int64_t>(i));
  out.set("decoder_sparse_step", 1);
  out.set("mlp_only_layers", std::move(dense_layers));
  out.set("intermediate_size", parts.dense.d_ff);
  out.set("norm_topk_prob", kind_options<TopKRouter>(parts.mixture.router).renormalise);
  return out;
}

}  // namespace qwen3_next

MOE_FAMILY(qwen3_next)

}  // namespace moe::models
