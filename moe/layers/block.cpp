// T tokens, D width.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <moe/base/error.h>
#include <moe/layers/block.h>
#include <moe/layers/recompute.h>

namespace moe::layers {

std::vector<LayerState*> BlockState::parts() const {
  std::vector<LayerState*> out;
  for (LayerState* part : {mixer.get(), feed_forward.get(), dense.get(), second_mixer.get(),
                           second_dense.get(), cross.get()})
    if (part) out.push_back(part);
  return out;
}

Norm BlockImpl::add_norm(const std::string& name, const BlockShape& shape) {
  return register_module(name, Norm(spec_.norm, shape.d_model, spec_.norm_epsilon, shape.tensors));
}

Half BlockImpl::add_half(const std::string& name, const std::string& position, double scale,
                         double residual, const BlockShape& shape) {
  Norm norm{nullptr}, output_norm{nullptr};
  if (Half::has_norm(position)) norm = add_norm(name + "_norm", shape);
  if (Half::has_output_norm(position)) output_norm = add_norm(name + "_output_norm", shape);
  return {position, scale, residual, norm, output_norm};
}

std::shared_ptr<Mixer> BlockImpl::add_mixer(const std::string& name, const BlockShape& shape) {
  return register_module(name, spec_.mixer.make(MixerShape{.d_model = shape.d_model,
                                                           .causal = shape.causal,
                                                           .norm = spec_.norm,
                                                           .norm_epsilon = spec_.norm_epsilon,
                                                           .layout = shape.layout,
                                                           .tensors = shape.tensors}));
}

std::shared_ptr<FeedForward> BlockImpl::add_feed_forward(const std::string& name,
                                                         const FeedForwardSpec& spec,
                                                         const BlockShape& shape) {
  return register_module(name, spec.make(FeedForwardShape{.d_model = shape.d_model,
                                                          .causal = shape.causal,
                                                          .norm = spec_.norm,
                                                          .norm_epsilon = spec_.norm_epsilon,
                                                          .layout = shape.layout.for_block(layer_),
                                                          .tensors = shape.tensors}));
}

BlockImpl::BlockImpl(const BlockSpec& spec, int64_t layer, const BlockShape& shape)
    : Module(shape.tensors), spec_(spec), layer_(layer) {
  const std::string &mixer = spec.mixer.kind, &wiring = spec.wiring;
  const bool parallel = wiring == "parallel", shortcut = wiring == "shortcut",
             has_dense = shortcut || wiring == "dense_beside";
  const std::string feed_forward =
      has_dense && spec.feed_forward.kind == "dense" ? "feed_forward" : spec.feed_forward.kind;
  const std::string& second_position = spec.feed_forward_norm_position.empty()
                                           ? spec.norm_position
                                           : spec.feed_forward_norm_position;
  if (parallel) norm_ = add_norm("norm", shape);
  mixer_half_ =
      parallel ? Half(spec.mixer_scale, spec.mixer_residual)
               : add_half(mixer, spec.norm_position, spec.mixer_scale, spec.mixer_residual, shape);
  mixer_ = add_mixer(mixer, shape);
  if (wiring == "cross") {
    cross_half_ = add_half("cross", "pre", 1, 1, shape);
    cross_ = register_module(
        "cross_attention",
        make_cross_attention(MixerShape{.d_model = shape.d_model, .tensors = shape.tensors},
                             spec.cross));
  }
  if (shortcut) norm_ = add_norm("ffn_norm", shape);
  feed_forward_half_ = parallel || shortcut
                           ? Half(spec.feed_forward_scale, spec.feed_forward_residual)
                           : add_half("ffn", second_position, spec.feed_forward_scale,
                                      spec.feed_forward_residual, shape);
  feed_forward_ = add_feed_forward(feed_forward, spec.feed_forward, shape);
  if (wiring == "dense_beside") dense_norm_ = add_norm("dense_norm", shape);
  if (has_dense) dense_ = add_feed_forward("dense", spec.dense, shape);
  if (shortcut) {
    second_half_ = add_half("second_" + mixer, "pre", 1, 1, shape);
    second_mixer_ = add_mixer("second_" + mixer, shape);
    dense_norm_ = add_norm("second_ffn_norm", shape);
    second_dense_ = add_feed_forward("second_dense", spec.dense, shape);
  }
  check<ConfigError>(!dense_ || !dense_->routes(), "layers/block",
                     "expected a block `dense` that does not route, got kind \"", spec.dense.kind,
                     "\". Route in feed_forward.");
  check<ConfigError>(!mixer_->balances() || routes(), "layers/block",
                     "expected a feed_forward that routes beside a mixer with balance terms, which "
                     "stand in its report, got kind \"",
                     spec.feed_forward.kind,
                     "\". Leave mixer.balance out, or take feed_forward.kind = \"moe\".");
  if (spec.output_scale)
    output_scale_ =
        add_buffer("output_scale", {1}, at::kFloat,
                   {.start = [](Tensor values, const RandomStream&) { values.fill_(1); }});
}

std::vector<const Mixer*> BlockImpl::mixers() const {
  std::vector<const Mixer*> out = {mixer_.get()};
  if (second_mixer_) out.push_back(second_mixer_.get());
  if (cross_) out.push_back(cross_.get());
  return out;
}

BlockState BlockImpl::new_state(const StateShape& shape) const {
  BlockState out;
  out.mixer = mixer_->new_state(shape);
  out.feed_forward = feed_forward_->new_state(shape);
  if (dense_) out.dense = dense_->new_state(shape);
  if (second_mixer_) out.second_mixer = second_mixer_->new_state(shape);
  if (second_dense_) out.second_dense = second_dense_->new_state(shape);
  if (cross_) out.cross = cross_->new_state(shape);
  return out;
}

Tensor BlockImpl::again(const Stage& stage, const Tensor& x_TD, Report& report) {
  // The backward pass runs this again; its report is dropped: the first run's was handed out
  // already.
  const auto waiting = std::make_shared<Report>();
  const RecomputedPart part = [stage, waiting = std::weak_ptr(waiting),
                               self = shared_from_this()](const Tensor& x) {
    Report mine;
    std::vector<Tensor> out = {stage(x, mine)};
    if (mine) {
      for (const auto& term : mine->balance.terms) out.push_back(term.value);
      if (mine->routing.log_chance_T.defined()) out.push_back(mine->routing.log_chance_T);
    }
    if (const auto first = waiting.lock()) *first = std::move(mine);
    return out;
  };
  const std::vector<Tensor> out = recomputed(*this, part, x_TD);
  report = std::move(*waiting);
  if (!report) return out[0];
  for (size_t i = 0; i < report->balance.terms.size(); ++i)
    report->balance.terms[i].value = out[i + 1];
  if (report->routing.log_chance_T.defined()) report->routing.log_chance_T = out.back();
  return out[0];
}

std::pair<Tensor, std::optional<LayerReport>> BlockImpl::forward(const Tensor& x_TD,
                                                                 const LayerContext& context,
                                                                 BlockState* state,
                                                                 Recompute recompute) {
  const bool saves = context.training && at::GradMode::is_enabled() && !state;
  // Gradients of a memory would not find their way out of a second pass.
  const bool again_in_block = saves && recompute == Recompute::kBlocks && !cross_;
  const bool again_in_moe = saves && recompute != Recompute::kNone && routes() && !again_in_block;
  const Call call = {context, state, again_in_moe};
  const auto wired = spec_.wiring == "parallel"       ? &BlockImpl::parallel
                     : spec_.wiring == "dense_beside" ? &BlockImpl::dense_beside
                     : spec_.wiring == "shortcut"     ? &BlockImpl::shortcut
                     : spec_.wiring == "cross"        ? &BlockImpl::crossing
                                                      : &BlockImpl::sequential;
  const Stage stage = [this, given = call, wired](const Tensor& x, Report& report) {
    Call call = given;
    call.context.mixer_terms = std::make_shared<std::vector<BalanceValue>>();
    const Tensor y_TD = (this->*wired)(x, call, report);
    for (auto& term : *call.context.mixer_terms)
      if (report) report->balance.terms.push_back(std::move(term));
    return output_scale_.defined() ? y_TD * output_scale_ : y_TD;
  };
  Report report;
  const Tensor y_TD = again_in_block ? again(stage, x_TD, report) : stage(x_TD, report);
  return {y_TD, std::move(report)};
}

}  // namespace moe::layers
