// L experts on this rank, D in, F hidden, O out, R rows.
#include <moe/experts/stacked.h>

namespace moe::experts {

namespace {

/// E2: out = w_out (act(g) * u) + b_out with [g; u] = w_in x + b_in; w_in (L, 2F, D): gate rows,
/// then up rows. The activation makes it SwiGLU (silu), GEGLU (gelu) or ReGLU (relu). Shazeer 2020.
class GatedExperts final : public MlpExperts {
 public:
  GatedExperts(const ExpertsShape& shape, const GatedOptions& options)
      : MlpExperts(shape, options, /*inner=*/2, "experts/gated") {}
};

}  // namespace

}  // namespace moe::experts

MOE_EXPERTS(gated, GatedExperts, GatedOptions)
