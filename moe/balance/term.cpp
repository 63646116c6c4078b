#include <cmath>

#include <moe/balance/term.h>

namespace moe::balance {

void Term::end_step(const StepStatistics&) {}

double BalanceSpec::own_coefficient(const TermShape& shape, int64_t layers) const {
  const Value* const found = options.find(kind == "switch" ? "counts" : "form");
  const std::string* const form = found ? found->as<std::string>() : nullptr;
  return coefficient_from(convention, {.kind = kind,
                                       .form = form               ? *form
                                               : kind == "switch" ? "all"
                                                                  : "logsumexp",
                                       .coefficient = coefficient,
                                       .num_experts = shape.num_experts,
                                       .top_k = shape.top_k,
                                       .layers = layers});
}

void BalanceSpec::validate(const std::string& place) const {
  check<ConfigError>(std::isfinite(coefficient), "config", "expected '", place,
                     ".coefficient' to be finite, got ", coefficient, ". Correct it.");
  check_one_of("config", concat(place, ".convention"), convention, conventions());
  Fields::validate(*this, place);
}

#define MOE_REGISTRY terms
#define MOE_REGISTRY_NAMES "balance term"
#define MOE_REGISTRY_TABLE <moe/balance/losses.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::balance
