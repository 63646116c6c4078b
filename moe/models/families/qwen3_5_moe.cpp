// Qwen3.5-MoE (Qwen 2026), the language model, as transformers keeps it: Qwen3-Next's layers with
// projections of their own, experts in every layer.
#include <moe/base/error.h>
#include <moe/models/qwen_hybrid_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace qwen3_5_moe {

DecoderOptions options(const HfConfig& c) {
  c.only("norm_topk_prob", {true}, "weights that are not renormalised");
  c.only("decoder_sparse_step", {1}, "dense layers");
  check(c.indices("mlp_only_layers").empty(), "models/config.json",
        "expected an empty list at 'mlp_only_layers' in ", c.source(),
        ", got layers, which are not there yet: dense layers.");
  c.ignore({"intermediate_size"});  // of dense layers
  DecoderOptions o = qwen_hybrid_decoder(c);
  for (auto& block : o.blocks) block.feed_forward = qwen_hybrid_mixture(c, true);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.linear_attn.", ours = "layers.{i}.gated_delta_net.";
  NameMap out = qwen_hybrid_names(o);
  out.add(fused(theirs + "in_proj_qkv.weight", {{ours + "w_q"}, {ours + "w_k"}, {ours + "w_v"}}));
  for (const std::string letter : {"z", "a", "b"})
    out.add(same(theirs + "in_proj_" + letter + ".weight", ours + "w_" + letter));
  add_named_experts(out, "model.layers.{i}.mlp.", "layers.{i}.moe.");
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  check(kind_options<TopKRouter>(parts.mixture.router).renormalise, "models/family",
        "expected renormalised weights, which models of the family have, got others. Name another "
        "family.");
  return qwen_hybrid_config(o, "Qwen3_5MoeForCausalLM", "qwen3_5_moe_text");
}

}  // namespace qwen3_5_moe

MOE_FAMILY(qwen3_5_moe, "qwen3_5_moe_text")

}  // namespace moe::models
