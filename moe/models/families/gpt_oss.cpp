// gpt-oss (OpenAI 2025), as transformers keeps it: attention sinks, windows in every second layer,
// bounded gates.
#include <moe/experts/kinds/clamped.h>
#include <moe/models/llama_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace gpt_oss {

namespace {

/// What the reference takes where config.json says nothing of its positions.
Rope default_rope(double theta) {
  Rope out;
  out.theta = theta;
  out.scaling = "yarn";
  out.factor = 32;
  out.original_length = 4096;
  out.truncate = false;
  return out;
}

}  // namespace

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attention_dropout", "initial_context_length", "router_aux_loss_coef"});
  c.only("hidden_act", {"silu"}, "another activation of the bounded gates");
  Attention attention = llama_attention(c, 150000, 8);
  attention.head_dim = head_dim_of(c, 64);
  attention.bias = attention.output_bias = c.flag("attention_bias", true);
  attention.sinks = true;
  if (!c.has("rope_scaling") && !c.has("rope_parameters"))
    attention.rope = default_rope(attention.rope.theta);
  ClampedExpert expert;
  expert.d_ff = c.size("intermediate_size");
  expert.alpha = c.number("swiglu_alpha", 1.702);
  expert.limit = c.number("swiglu_limit", 7);
  TopKRouter router;
  router.softmax = "after";
  router.bias = true;
  layers::MoELayerOptions mixture;
  mixture.num_experts = size_of(c, {"num_local_experts", "num_experts"});
  mixture.top_k = size_of(c, {"num_experts_per_tok", "experts_per_token"});
  mixture.router = router;
  mixture.expert = expert;
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 131072);
  const int64_t window = window_of(c, 128);
  const auto full = full_layers(c, [](int64_t i) { return i % 2 == 1; });
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    attention.window = full[i] ? 0 : window;
    o.blocks[i].mixer = attention;
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.mlp.", ours = "layers.{i}.moe.";
  NameMap out = llama_names(o);
  out.add(same("model.layers.{i}.self_attn.sinks", "layers.{i}.attention.sinks"));
  out.add(same(theirs + "router.weight", ours + "router.weight"));
  out.add(same(theirs + "router.bias", ours + "router.bias"));
  out.add(transposed(
      arranged(same(theirs + "experts.gate_up_proj", ours + "experts.w_in"), interleaved_rows())));
  out.add(arranged(same(theirs + "experts.gate_up_proj_bias", ours + "experts.b_in"),
                   interleaved_rows(-1)));
  out.add(transposed(same(theirs + "experts.down_proj", ours + "experts.w_out")));
  out.add(same(theirs + "experts.down_proj_bias", ours + "experts.b_out"));
  return out;
}

Table config(const DecoderOptions& o) {
  const auto blocks = o.block_specs();
  Table out = llama_config(o, "GptOssForCausalLM", "gpt_oss");
  const auto attention = kind_options<Attention>(blocks.front().mixer);
  const auto mixture = kind_options<layers::MoELayerOptions>(blocks.front().feed_forward);
  const auto expert = kind_options<ClampedExpert>(mixture.expert);
  // Nothing at all would mean the scaling of the published models.
  if (attention.rope.scaling == "none")
    out.set("rope_scaling", table_of({{"rope_type", "default"}}));
  out.set("attention_bias", attention.bias);
  out.set("intermediate_size", mixture.expert.d_ff);
  out.set("num_local_experts", mixture.num_experts);
  out.set("num_experts_per_tok", mixture.top_k);
  out.set("swiglu_alpha", expert.alpha);
  out.set("swiglu_limit", expert.limit);
  Array kinds;
  Value window = int64_t{128};  // what reads the file wants one, also where no layer slides
  for (const auto& one : blocks) {
    const int64_t width = kind_options<Attention>(one.mixer).window;
    kinds.push_back(width > 0 ? kSlidingAttention : kFullAttention);
    if (width > 0) window = width;
  }
  out.set("layer_types", std::move(kinds));
  out.set("sliding_window", std::move(window));
  return out;
}

}  // namespace gpt_oss

MOE_FAMILY(gpt_oss)

}  // namespace moe::models
