// L experts on this rank, D in, F hidden, O out, R rows.
#include <moe/experts/stacked.h>

namespace moe::experts {

namespace {

/// E1: out = w_out act(w_in x + b_in) + b_out, with w_in (L, F, D) and w_out (L, O, F).
class FeedForwardExperts final : public MlpExperts {
 public:
  FeedForwardExperts(const ExpertsShape& shape, const FeedForwardOptions& options)
      : MlpExperts(shape, options, /*inner=*/1, "experts/ffn") {}
};

}  // namespace

}  // namespace moe::experts

MOE_EXPERTS(ffn, FeedForwardExperts, FeedForwardOptions)
