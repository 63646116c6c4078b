#pragma once
// L experts on this rank, D in, F hidden, H = F or 2F, O out, R rows.

#include <moe/experts/experts.h>
#include <moe/experts/feed_forward_options.h>
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
  Tensor keep_mask(const ExpertRows& rows, const RoutingContext& context) const;

  FeedForwardOptions options_;
  ops::Activation activation_;
  Tensor w_in, b_in, w_out, b_out;

 private:
  int64_t inner_;
};

}  // namespace moe::experts
