#include <moe/objectives/objective.h>

namespace moe::objectives {

std::vector<Metric> Objective::metrics(const Tensor& sums_M) const {
  return {{"loss", (sums_M[0] / sums_M[1]).item<double>()}};
}

#define MOE_REGISTRY objectives
#define MOE_REGISTRY_NAMES "objective"
#define MOE_REGISTRY_TABLE <moe/objectives/objectives.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::objectives
