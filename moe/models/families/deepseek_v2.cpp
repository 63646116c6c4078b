// DeepSeek-V2 (DeepSeek-AI 2024): latent attention, softmax experts, limited to groups in the large
// model. Its own code and transformers.
#include <moe/models/latent_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace deepseek_v2 {

constexpr const char* kGroupLimited = "group_limited_greedy";

TopKRouter router_of(const HfConfig& c) {
  c.only("scoring_func", {"softmax"}, "another rule of selection");
  c.only("topk_method", {"greedy", kGroupLimited}, "another rule of selection");
  c.only("norm_topk_prob", {false},
         "weights that are divided by their sum, which its programs do not agree on");
  TopKRouter out;
  out.renormalise = false;
  out.scale = c.number("routed_scaling_factor", 1);
  c.ignore({"n_group", "topk_group"});  // without groups
  if (c.text("topk_method", "greedy") == kGroupLimited && c.size("n_group") > 1) {
    out.groups = c.size("n_group");
    out.kept_groups = c.size("topk_group");
  }
  return out;
}

/// `mlp_bias`: biases of dense feed-forwards and of the shared experts.
layers::FeedForwardSpec with_biases(const layers::FeedForwardSpec& block) {
  auto dense = kind_options<Dense>(block);
  dense.bias = true;
  return dense;
}

DecoderOptions options(const HfConfig& c) {
  c.only("rope_interleave", {true}, "another rotation");
  auto mixture = mixture_of(c, router_of(c), 2);
  const bool biases = c.flag("mlp_bias", false);
  if (biases && layers::is_present(mixture.shared)) mixture.shared = with_biases(mixture.shared);
  DecoderOptions o = latent_decoder(c, latent_attention_of(c, 10000), mixture, 0, 1e-6);
  for (auto& block : o.blocks)
    if (biases && block.feed_forward.kind == "dense")
      block.feed_forward = with_biases(block.feed_forward);
  return o;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  const auto router = kind_options<TopKRouter>(parts.mixture.router);
  Table out = latent_config(o, "DeepseekV2ForCausalLM", "deepseek_v2");
  write_latent_mixture(out, parts);
  out.set("moe_layer_freq", parts.sparse_step());
  out.set("mlp_bias", parts.dense.bias || parts.shared.bias);
  out.set("scoring_func", "softmax");
  out.set("topk_method", router.groups > 1 ? kGroupLimited : "greedy");
  out.set("n_group", router.groups > 1 ? Value(router.groups) : Value());
  out.set("topk_group", router.groups > 1 ? Value(router.kept_groups) : Value());
  out.set("norm_topk_prob", router.renormalise);
  out.set("routed_scaling_factor", router.scale);
  return out;
}

NameMap names(const DecoderOptions& o) {
  return latent_names(o);
}

}  // namespace deepseek_v2

MOE_FAMILY(deepseek_v2)

}  // namespace moe::models
