#pragma once
// L experts on this rank, D in, F hidden, H = F or 2F, O out, R rows.

#include <moe/experts/experts.h>
#include <moe/experts/feed_forward_options.h>
#include <moe/ops/gradient_sink.h>
#include <moe/ops/grouped.h>

namespace moe::experts {

/// Experts whose parameters are stacked: w_in (L, H, D), b_in (L, H), w_out (L, O, F), b_out (L,
/// O).
class StackedExperts : public Experts {
 public:
  /// `inner` is H / F: 1 for plain, 2 for gated experts.
  StackedExperts(const ExpertsShape& shape, const FeedForwardOptions& options, int64_t inner,
                 const std::string& place);

  int64_t flops_per_row() const override;

 protected:
  /// (R, F) dropout multipliers of the hidden units in training, else undefined.
  Tensor keep_mask(const ExpertRows& rows, const LayerContext& context) const;

  FeedForwardOptions options_;
  ops::Activation activation_;
  Tensor w_in, b_in, w_out, b_out;
  int64_t inner_;
};

/// out = w_out h + b_out with h = act(w_in x + b_in), or, where `inner` is 2, h = act(g) * u with
/// [g; u] = w_in x + b_in.
class MlpExperts : public StackedExperts {
 public:
  using StackedExperts::StackedExperts;

  Tensor forward(const ExpertRows& rows, const LayerContext& context) override;
  Tensor forward_combined(const ExpertRows& rows, const ops::Combination& pairs,
                          const LayerContext& context) override;
  /// From here on the gradients of w_in and w_out go through sinks, which are added to `sinks`; but
  /// not those of parameters that a sink cannot serve.
  void use_sinks(ops::GradientSinks& sinks);

 private:
  ops::MlpParameters mlp() const;

  ops::MlpSinks sinks_;
};

/// Gives the MLP experts in `model` (kinds ffn and gated) sinks for the gradients of their weights,
/// for training loops: `.grad()` stays a whole gradient, but experts without tokens cost it
/// nothing, and products in bfloat16 leave float32 sums in it (ops/gradient_sink.h says what
/// changes). Call it once parameters have their type and are frozen or not. None with
/// MOE_CPU=libtorch.
ops::GradientSinks use_gradient_sinks(torch::nn::Module& model);

}  // namespace moe::experts
