// L experts on this rank, D in, F hidden, O out, R rows.
#include <moe/experts/stacked.h>

namespace moe::experts {

namespace {

/// E1: out = w_out act(w_in x + b_in) + b_out, with w_in (L, F, D) and w_out (L, O, F).
class FeedForwardExperts final : public StackedExperts {
 public:
  FeedForwardExperts(const ExpertsShape& shape, const FeedForwardOptions& options)
      : StackedExperts(shape, options, /*inner=*/1, "experts/ffn") {}

  Tensor forward(const ExpertRows& rows, const RoutingContext& context) override {
    return ops::grouped_mlp(rows.source_SD, rows.index_R, rows.offsets_L, w_in, b_in, w_out, b_out,
                            keep_mask(rows, context), activation_, options_.recompute);
  }
};

}  // namespace

}  // namespace moe::experts

MOE_EXPERTS(ffn, FeedForwardExperts, FeedForwardOptions)
