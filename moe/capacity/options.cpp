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
  check<ConfigError>(eval_fraction >= 0 && eval_fraction <= 1, kPlace,
                     "expected eval_fraction in [0, 1], got ", eval_fraction,
                     ". Use 0 for no limit.");
  check<ConfigError>(eval_fraction == 0 || (limit == 0 && eval_factor == 0), kPlace,
                     "expected one of eval_fraction, eval_factor and limit, got ", eval_fraction,
                     ", ", eval_factor, " and ", limit, ". Set the others to 0.");
  check<ConfigError>(!whole_call || group_tokens == 0, kPlace,
                     "expected whole_call or group_tokens, got both. Leave one out.");
  check<ConfigError>(minimum >= 1, kPlace, "expected minimum >= 1, got ", minimum,
                     ". An expert that takes nothing does nothing.");
  check<ConfigError>(group_tokens >= 0, kPlace, "expected group_tokens >= 0, got ", group_tokens,
                     ". Use 0 for one group a sequence.");
  check_one_of(kPlace, "rounding", rounding, ops::rounding_modes());
  check_one_of(kPlace, "order", order, {"choice", "priority", "score", "random", "token"});
  check_one_of(kPlace, "overflow", overflow, {"drop", "next_best"});
}

double CapacityOptions::active_experts(double choices) const {
  if (factor == 0) return choices;
  return std::min(choices, factor * (count_k ? choices : 1));
}

}  // namespace moe::capacity
