// The balance term of docs/howto/add_a_balance_term.md. E experts.
#include <cmath>
#include <tests/balance/fixtures.h>
#include <tests/support/howto.h>
#include <tests/support/message_of.h>

namespace moe::balance::terms_table {
TermRegistry::Entry make_power_mean();
}  // namespace moe::balance::terms_table

namespace moe::balance::howto_test {

namespace {

using namespace moe::test::balance;

const bool kRegistered =
    moe::test::register_howto(terms(), "power_mean", terms_table::make_power_mean());

TEST(HowTo, TheTermOfThePageIsItsFormula) {
  ASSERT_TRUE(kRegistered);
  const auto term = make("power_mean", setting("power", 3.0));
  const Routing routing = routing_of(logits_of(1));
  const Tensor p_E = routing.scores_TE.mean(0);
  double sum = 0;
  for (int64_t e = 0; e < kExperts; ++e) sum += std::pow(kExperts * p_E[e].item<double>(), 3);
  EXPECT_NEAR(value_of(*term, routing).item<double>(), std::cbrt(sum / kExperts), 1e-12);
  EXPECT_NEAR(value_of(*term, collapsed()).item<double>(), std::pow(kExperts, 1 - 1 / 3.0), 1e-12);
  EXPECT_ERROR(make("power_mean", setting("power", 1.0)), "in (1, 64], got 1");
}

}  // namespace

}  // namespace moe::balance::howto_test
