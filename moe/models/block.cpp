// B batch, S sequence, T = B·S tokens, D width.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <moe/layers/dropout.h>
#include <moe/layers/recompute.h>
#include <moe/models/block.h>

namespace moe::models {

namespace {

layers::MoELayerOptions moe_layer_options(const ModelOptions& o, int64_t layer, uint64_t seed) {
  layers::MoELayerOptions out;
  out.d_model = o.d_model;
  out.num_experts = o.experts_of(layer);
  out.top_k = o.top_k_of(layer);
  out.router = o.moe.router;
  out.expert = o.moe.expert;
  out.expert.d_ff = o.expert_width();
  out.balance = o.moe.balance;
  out.shared = o.moe.shared;
  out.capacity = o.moe.capacity;
  out.dispatcher = o.moe.dispatcher;
  out.expert_dropout = o.moe.expert_dropout;
  out.init = o.init;
  out.seed = static_cast<int64_t>(seed);
  return out;
}

}  // namespace

BlockImpl::BlockImpl(const ModelOptions& o, int64_t layer, const ModelShape& shape)
    : layer_(layer), pre_(o.norm_position == "pre"), dropout_(o.dropout) {
  attention_norm =
      register_module("attention_norm", layers::Norm(o.norm, o.d_model, o.norm_epsilon));
  attention = register_module(
      "attention", layers::Attention(layers::AttentionOptions{.d_model = o.d_model,
                                                              .heads = o.heads,
                                                              .kv_heads = o.kv_heads,
                                                              .head_dim = o.head_dim,
                                                              .bias = o.attention_bias,
                                                              .qk_norm = o.qk_norm,
                                                              .causal = o.causal,
                                                              .rope_theta = o.rope_theta,
                                                              .norm_epsilon = o.norm_epsilon,
                                                              .norm = o.norm,
                                                              .dropout = o.attention_dropout}));
  ffn_norm = register_module("ffn_norm", layers::Norm(o.norm, o.d_model, o.norm_epsilon));
  if (o.experts_of(layer) > 0) {
    moe_ = register_module("moe",
                           layers::MoELayer(moe_layer_options(o, layer, shape.seed), shape.group));
  } else {
    experts::FeedForwardOptions dense;
    dense.activation = o.activation;
    dense.bias = o.feed_forward_bias;
    ffn = register_module(
        "ffn", layers::FeedForward(o.feed_forward, o.d_model, o.dense_width(layer), dense));
  }
}

Tensor BlockImpl::attend(const Tensor& x_BSD, const Tensor& valid_BS, const RoutingContext& context,
                         layers::KeyValueCache* cache) {
  const Tensor y_BSD = attention(x_BSD, valid_BS, context, cache);
  return layers::dropout(y_BSD.flatten(0, 1), dropout_, context, 1).view(x_BSD.sizes());
}

Tensor BlockImpl::feed_forward(const Tensor& x_BSD, const RoutingContext& context, Report& report) {
  const Tensor x_TD = x_BSD.flatten(0, 1);
  Tensor y_TD;
  if (moe_) {
    MoEOutput out = moe_->forward(x_TD, context);
    y_TD = out.hidden_TD;
    report = LayerReport{layer_, std::move(out.balance), std::move(out.routing)};
  } else {
    y_TD = ffn(x_TD, context);
  }
  return layers::dropout(y_TD, dropout_, context, 2).view(x_BSD.sizes());
}

Tensor BlockImpl::again(const Stage& stage, const Tensor& x_BSD, Report& report) {
  // What the second call reports was reported by the first: it finds nobody waiting.
  const auto waiting = std::make_shared<Report>();
  const layers::Part part = [stage, waiting = std::weak_ptr(waiting),
                             self = shared_from_this()](const Tensor& x) {
    Report mine;
    std::vector<Tensor> out = {stage(x, mine)};
    if (mine)
      for (const auto& term : mine->balance.terms) out.push_back(term.value);
    if (const auto first = waiting.lock()) *first = std::move(mine);
    return out;
  };
  const std::vector<Tensor> out = layers::recomputed(*this, part, x_BSD);
  report = std::move(*waiting);
  for (size_t i = 1; i < out.size(); ++i) report->balance.terms[i - 1].value = out[i];
  return out[0];
}

std::pair<Tensor, std::optional<LayerReport>> BlockImpl::forward(const Tensor& x_BSD,
                                                                 const Tensor& valid_BS,
                                                                 const RoutingContext& context,
                                                                 layers::KeyValueCache* cache,
                                                                 Recompute recompute) {
  const bool saves = context.training && at::GradMode::is_enabled() && !cache;
  const bool moe_again = saves && recompute == Recompute::kMoE && is_moe();
  const Stage ffn_stage = [this, context](const Tensor& h_BSD, Report& report) {
    return feed_forward(pre_ ? ffn_norm(h_BSD) : h_BSD, context, report);
  };
  const Stage stage = [this, valid_BS, context, cache, moe_again, ffn_stage](const Tensor& x,
                                                                             Report& report) {
    const auto ffn_part = [&](const Tensor& h_BSD) {
      return moe_again ? again(ffn_stage, h_BSD, report) : ffn_stage(h_BSD, report);
    };
    if (pre_) {
      const Tensor h_BSD = x + attend(attention_norm(x), valid_BS, context, cache);
      return h_BSD + ffn_part(h_BSD);
    }
    const Tensor h_BSD = attention_norm(x + attend(x, valid_BS, context, cache));
    return ffn_norm(h_BSD + ffn_part(h_BSD));
  };
  Report report;
  const Tensor y_BSD =
      saves && recompute == Recompute::kBlocks ? again(stage, x_BSD, report) : stage(x_BSD, report);
  return {y_BSD, std::move(report)};
}

}  // namespace moe::models
