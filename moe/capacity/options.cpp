#include <algorithm>
#include <cmath>

#include <moe/base/error.h>
#include <moe/capacity/options.h>
#include <moe/ops/rounding.h>

namespace moe::capacity {

void CapacityOptions::validate(const std::string&) const {
  constexpr const char* kPlace = "capacity";
  for (const auto& [name, value] : {std::pair{"factor", factor}, {"eval_factor", eval_factor}})
    check<ConfigError>(value >= 0 && std::isfinite(value), kPlace, "expected a finite ", name,
                       " >= 0, got ", value, ". Use 0 for no limit.");
  check<ConfigError>(limit >= 0, kPlace, "expected limit >= 0, got ", limit,
                     ". Use 0 to go by factors.");
  check<ConfigError>(limit == 0 || (factor == 0 && eval_factor == 0), kPlace,
                     "expected limit or factors, got limit=", limit, ", factor=", factor,
                     " and eval_factor=", eval_factor, ". Set the ones or the other to 0.");
  check<ConfigError>(minimum >= 1, kPlace, "expected minimum >= 1, got ", minimum,
                     ". An expert that takes nothing does nothing.");
  check<ConfigError>(group_tokens >= 0, kPlace, "expected group_tokens >= 0, got ", group_tokens,
                     ". Use 0 for one group a sequence.");
  check_one_of(kPlace, "rounding", rounding, ops::rounding_modes());
  check_one_of(kPlace, "order", order, {"choice", "priority", "random", "token"});
  check_one_of(kPlace, "overflow", overflow, {"drop", "next_best"});
}

double CapacityOptions::active_experts(double choices) const {
  if (factor == 0) return choices;
  return std::min(choices, factor * (count_k ? choices : 1));
}

}  // namespace moe::capacity
