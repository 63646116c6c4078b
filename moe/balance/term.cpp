#include <cmath>

#include <moe/balance/term.h>

namespace moe::balance {

void Term::end_step(const StepStatistics&) {}

void BalanceSpec::validate(const std::string& place) const {
  check<ConfigError>(std::isfinite(coefficient), "config", "expected '", place,
                     ".coefficient' to be finite, got ", coefficient, ". Correct it.");
  Fields::validate(*this, place);
}

#define MOE_REGISTRY terms
#define MOE_REGISTRY_NAMES "balance term"
#define MOE_REGISTRY_TABLE <moe/balance/losses.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::balance
