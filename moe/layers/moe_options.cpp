#include <moe/balance/term.h>
#include <moe/experts/experts.h>
#include <moe/layers/moe_options.h>
#include <moe/routing/router.h>

namespace moe::layers {

void RouterSpec::validate(const std::string& place) const {
  routing::routers().at(kind).check(options, place);
}

void ExpertSpec::validate(const std::string& place) const {
  experts::expert_kinds().at(kind).check(options, place);
}

void BalanceSpec::validate(const std::string& place) const {
  balance::terms().at(kind).check(options, place);
}

}  // namespace moe::layers
