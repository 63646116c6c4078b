#include <cmath>
#include <limits>

#include <moe/models/granite_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

DecoderOptions granite_decoder(const HfConfig& c, int64_t shared) {
  ignore_training(c);
  Attention attention = llama_attention(c, 10000);
  attention.scale = c.number("attention_multiplier", 1);
  attention.bias = attention.output_bias = c.flag("attention_bias", false);
  TopKRouter router;
  router.softmax = "after";
  layers::MoELayerOptions mixture;
  mixture.num_experts = c.size("num_local_experts", 8);
  mixture.top_k = c.size("num_experts_per_tok", 2);
  mixture.router = router;
  mixture.expert = expert_of(c, c.size("intermediate_size"));
  mixture.balance = balance_of(c);
  if (shared > 0) mixture.shared = dense_of(c, shared);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  block.mixer_scale = block.feed_forward_scale = c.number("residual_multiplier", 1);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 2048);
  o.embedding_scale = c.number("embedding_multiplier", 1);
  o.logit_scale = 1 / c.number("logits_scaling", 1);
  return o;
}

NameMap granite_names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.block_sparse_moe.", ours = "layers.{i}.moe.";
  const std::string shared = "model.layers.{i}.shared_mlp.";
  NameMap out = llama_names(o);
  out.add(same(theirs + "router.layer.weight", ours + "router.weight"));
  out.otherwise({same(theirs + "router.weight", ours + "router.weight")});
  out.add(same(theirs + "input_linear.weight", ours + "experts.w_in"));
  out.add(same(theirs + "output_linear.weight", ours + "experts.w_out"));
  out.otherwise({same(theirs + "experts.gate_up_proj", ours + "experts.w_in"),
                 same(theirs + "experts.down_proj", ours + "experts.w_out")});
  out.add(same(shared + "input_linear.weight", ours + "shared.w_in"));
  out.add(same(shared + "output_linear.weight", ours + "shared.w_out"));
  return out;
}

Table granite_config(const DecoderOptions& o, const char* architecture, const char* model_type) {
  const DecoderParts parts(o);
  const Attention attention = parts.attention(0);
  Table out = llama_config(o, architecture, model_type);
  out.set("intermediate_size", parts.expert.d_ff);
  out.set("num_local_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", hf_activation(parts.expert.activation));
  out.set("attention_bias", attention.bias);
  out.set("attention_multiplier", attention.scale > 0
                                      ? attention.scale
                                      : 1 / std::sqrt(static_cast<double>(attention.head_dim)));
  out.set("residual_multiplier", parts.blocks.front().mixer_scale);
  out.set("embedding_multiplier", o.embedding_scale);
  out.set("logits_scaling", divisor_of(o.logit_scale));
  return out;
}

double divisor_of(double factor) {
  constexpr double kFar = std::numeric_limits<double>::infinity();
  const double nearest = 1 / factor;
  for (const double near : {nearest, std::nextafter(nearest, kFar), std::nextafter(nearest, -kFar)})
    if (1 / near == factor) return near;
  return nearest;
}

}  // namespace moe::models
