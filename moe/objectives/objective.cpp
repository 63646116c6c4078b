#include <moe/base/error.h>
#include <moe/objectives/objective.h>

namespace moe::objectives {

Tensor Objective::divergence(models::Model&, const models::ModelOutput&, const models::ModelOutput&,
                             const data::Batch&, at::ScalarType) const {
  fail("objectives",
       "expected an objective that predicts a distribution, got one that does not. Compare passes "
       "with next_token or classification.");
}

std::vector<Metric> Objective::metrics(const Tensor& sums_M) const {
  return {{"loss", (sums_M[0] / sums_M[1]).item<double>()}};
}

#define MOE_REGISTRY objectives
#define MOE_REGISTRY_NAMES "objective"
#define MOE_REGISTRY_TABLE <moe/objectives/objectives.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::objectives
