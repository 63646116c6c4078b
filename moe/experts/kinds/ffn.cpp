// L experts on this rank, D in, F hidden, O out, R rows.
#include <moe/experts/kinds/ffn.h>
#include <moe/experts/stacked.h>

namespace moe::experts {

namespace {

/// out = w_out act(w_in x + b_in) + b_out, with w_in (L, F, D) and w_out (L, O, F).
class Ffn final : public MlpExperts {
 public:
  Ffn(const ExpertsShape& shape, const FfnExpert& options)
      : MlpExperts(shape, FeedForwardOptions::of(options), /*inner=*/1, "experts/ffn") {}
};

}  // namespace

MOE_KIND(expert_kinds, ffn, Ffn, FfnExpert)

}  // namespace moe::experts
