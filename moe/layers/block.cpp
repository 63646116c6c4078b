// T tokens, D width.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <moe/layers/block.h>
#include <moe/layers/dropout.h>
#include <moe/layers/recompute.h>

namespace moe::layers {

void BlockSpec::validate(const std::string& place) const {
  check_one_of("config", concat(place, ".norm"), norm, {"rmsnorm", "layernorm"});
  check_one_of("config", concat(place, ".norm_position"), norm_position, {"pre", "post"});
  check<ConfigError>(std::isfinite(norm_epsilon) && norm_epsilon >= 0, "config", "expected '",
                     place, ".norm_epsilon' to be finite and at least 0, got ", norm_epsilon,
                     ". Correct it.");
  check<ConfigError>(dropout >= 0 && dropout < 1, "config", "expected '", place,
                     ".dropout' in [0, 1), got ", dropout, ". Correct it.");
}

void BlockSpec::resolve() {
  mixer.resolve();
  feed_forward.resolve();
}

std::vector<LayerState*> BlockState::halves() const {
  std::vector<LayerState*> out;
  for (LayerState* half : {mixer.get(), feed_forward.get()})
    if (half) out.push_back(half);
  return out;
}

BlockImpl::BlockImpl(const BlockSpec& spec, int64_t layer, const BlockShape& shape)
    : Module(shape.tensors), spec_(spec), layer_(layer), pre_(spec.norm_position == "pre") {
  const auto norm = [&] {
    return Norm(spec.norm, shape.d_model, spec.norm_epsilon, shape.tensors);
  };
  mixer_norm_ = register_module(spec.mixer.kind + "_norm", norm());
  mixer_ =
      register_module(spec.mixer.kind, spec.mixer.make(MixerShape{.d_model = shape.d_model,
                                                                  .causal = shape.causal,
                                                                  .norm = spec.norm,
                                                                  .norm_epsilon = spec.norm_epsilon,
                                                                  .tensors = shape.tensors}));
  feed_forward_norm_ = register_module("ffn_norm", norm());
  feed_forward_ = register_module(
      spec.feed_forward.kind, spec.feed_forward.make(FeedForwardShape{.d_model = shape.d_model,
                                                                      .causal = shape.causal,
                                                                      .group = shape.group,
                                                                      .tensors = shape.tensors}));
}

BlockState BlockImpl::new_state(const StateShape& shape) const {
  BlockState out;
  out.mixer = mixer_->new_state(shape);
  out.feed_forward = feed_forward_->new_state(shape);
  return out;
}

Tensor BlockImpl::mix(const Tensor& x_TD, const LayerContext& context, LayerState* state) {
  return dropout(mixer_->forward(x_TD, context, state), spec_.dropout, context, 1);
}

Tensor BlockImpl::feed(const Tensor& x_TD, const LayerContext& context, LayerState* state,
                       Report& report) {
  // A view, so that gradients of router and experts are summed before the residual's is added: the
  // same order with and without recomputation.
  FeedForwardOutput out = feed_forward_->forward_tokens(x_TD.view(x_TD.sizes()), context, state);
  if (routes()) report = LayerReport{layer_, std::move(out.balance), std::move(out.routing)};
  return dropout(out.hidden_TD, spec_.dropout, context, 2);
}

Tensor BlockImpl::again(const Stage& stage, const Tensor& x_TD, Report& report) {
  // The backward pass runs this again; its report is dropped: the first run's was handed out
  // already.
  const auto waiting = std::make_shared<Report>();
  const RecomputedPart part = [stage, waiting = std::weak_ptr(waiting),
                               self = shared_from_this()](const Tensor& x) {
    Report mine;
    std::vector<Tensor> out = {stage(x, mine)};
    if (mine)
      for (const auto& term : mine->balance.terms) out.push_back(term.value);
    if (const auto first = waiting.lock()) *first = std::move(mine);
    return out;
  };
  const std::vector<Tensor> out = recomputed(*this, part, x_TD);
  report = std::move(*waiting);
  for (size_t i = 1; i < out.size(); ++i) report->balance.terms[i - 1].value = out[i];
  return out[0];
}

std::pair<Tensor, std::optional<LayerReport>> BlockImpl::forward(const Tensor& x_TD,
                                                                 const LayerContext& context,
                                                                 BlockState* state,
                                                                 Recompute recompute) {
  const bool saves = context.training && at::GradMode::is_enabled() && !state;
  const bool again_in_moe = saves && recompute == Recompute::kMoE && routes();
  LayerState* const mixer_state = state ? state->mixer.get() : nullptr;
  LayerState* const feed_forward_state = state ? state->feed_forward.get() : nullptr;
  const Stage feed_stage = [this, context, feed_forward_state](const Tensor& h_TD, Report& report) {
    return feed(pre_ ? feed_forward_norm_(h_TD) : h_TD, context, feed_forward_state, report);
  };
  const Stage stage = [this, context, mixer_state, again_in_moe, feed_stage](const Tensor& x,
                                                                             Report& report) {
    const auto fed = [&](const Tensor& h_TD) {
      return again_in_moe ? again(feed_stage, h_TD, report) : feed_stage(h_TD, report);
    };
    if (pre_) {
      const Tensor h_TD = x + mix(mixer_norm_(x), context, mixer_state);
      return h_TD + fed(h_TD);
    }
    const Tensor h_TD = mixer_norm_(x + mix(x, context, mixer_state));
    return feed_forward_norm_(h_TD + fed(h_TD));
  };
  Report report;
  const Tensor y_TD =
      saves && recompute == Recompute::kBlocks ? again(stage, x_TD, report) : stage(x_TD, report);
  return {y_TD, std::move(report)};
}

}  // namespace moe::layers
