#include <cmath>

#include <moe/balance/term.h>
#include <moe/experts/experts.h>
#include <moe/layers/moe_options.h>
#include <moe/routing/router.h>

namespace moe::layers {

void RouterSpec::find_unknown(UnknownKeys& unknown) const {
  routing::routers().find_unknown(kind, options, unknown);
}

void ExpertSpec::find_unknown(UnknownKeys& unknown) const {
  experts::expert_kinds().find_unknown(kind, options, unknown);
}

void BalanceSpec::find_unknown(UnknownKeys& unknown) const {
  balance::terms().find_unknown(kind, options, unknown);
}

void RouterSpec::validate(const std::string& place) const {
  routing::routers().at(kind).check(options, place);
}

void ExpertSpec::validate(const std::string& place) const {
  experts::expert_kinds().at(kind).check(options, place);
}

void BalanceSpec::validate(const std::string& place) const {
  check<ConfigError>(std::isfinite(coefficient), "config", "expected '", place,
                     ".coefficient' to be finite, got ", coefficient, ". Correct it.");
  balance::terms().at(kind).check(options, place);
}

}  // namespace moe::layers
