// L experts on this rank, D in, F hidden, O out, R rows.
#include <moe/experts/kinds/gated.h>
#include <moe/experts/stacked.h>

namespace moe::experts {

namespace {

/// Shazeer 2020: out = w_out (act(g) * u) + b_out with [g; u] = w_in x + b_in; w_in (L, 2F, D):
/// gate rows, then up rows.
class Gated final : public MlpExperts {
 public:
  Gated(const ExpertsShape& shape, const GatedExpert& options)
      : MlpExperts(shape, FeedForwardOptions::of(options), /*inner=*/2, "experts/gated") {}
};

}  // namespace

MOE_KIND(expert_kinds, gated, Gated, GatedExpert)

}  // namespace moe::experts
