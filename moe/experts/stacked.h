#pragma once
// L experts on this rank, D in, F hidden, H = F or 2F, O out, R rows.

#include <memory>
#include <utility>

#include <moe/experts/experts.h>
#include <moe/experts/feed_forward_options.h>
#include <moe/experts/source.h>
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
  /// From here on w_in and w_out come from `source`, not from the parameters of these names, which
  /// need not be filled then and get no gradients.
  void use_source(std::shared_ptr<ExpertSource> source) { source_ = std::move(source); }

 private:
  ops::MlpParameters mlp(const ExpertRows& rows) const;

  std::shared_ptr<ExpertSource> source_;  // null: the parameters
};

}  // namespace moe::experts
