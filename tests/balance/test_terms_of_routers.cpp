// Terms for certain routers, against loops: token_entropy (tokens that say how many experts they
// need), domain_classifier (a router that takes its tokens for domains). T tokens, E experts, M
// domains.
#include <cmath>
#include <tests/balance/fixtures.h>
#include <tests/support/message_of.h>

#include <ATen/TensorOperators.h>

namespace moe::balance::terms_of_routers_test {

namespace {

using moe::test::expect_gradients;
using moe::test::normal;
using namespace moe::test::balance;

// ---- token_entropy
// -------------------------------------------------------------------------------

TEST(TokenEntropyTerm, IsTheMeanEntropyOfTokens) {
  const Routing routing = routing_of(logits_of(3));
  double sum = 0;
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t e = 0; e < kExperts; ++e) {
      const double p = routing.scores_TE[t][e].item<double>();
      sum -= p * std::log(p);
    }
  EXPECT_NEAR(value_of(*make("token_entropy"), routing).item<double>(), sum / kTokens, 1e-12);
}

TEST(TokenEntropyTerm, IsZeroWhereEveryTokenIsSure) {
  EXPECT_EQ(value_of(*make("token_entropy"), collapsed()).item<double>(), 0);
  EXPECT_NEAR(make("token_entropy")->value_at_balance(), std::log(kExperts), 1e-15);
}

// ---- domain_classifier
// ---------------------------------------------------------------------------

constexpr int64_t kDomains = 3;

LayerContext labelled(const std::vector<int64_t>& domains) {
  LayerContext context;
  context.training = true;
  context.tokens.num_domains = kDomains;
  context.tokens.domains_T = at::tensor(domains, at::kLong);
  return context;
}

Routing classified(const Tensor& z_TM) {
  Routing routing = routing_of(logits_of(1, z_TM.size(0)));
  routing.domain_logits_TM = z_TM;
  return routing;
}

TEST(DomainClassifierTerm, IsTheMeanCrossEntropyOfLabelledTokens) {
  const Tensor z_TM = normal({kTokens, kDomains}, 8);
  const std::vector<int64_t> domains = {0, 2, -1, 1, 1, -1};
  double sum = 0;
  for (int64_t t = 0; t < kTokens; ++t) {
    const int64_t label = domains[static_cast<size_t>(t)];
    if (label < 0) continue;
    double total = 0;
    for (int64_t m = 0; m < kDomains; ++m) total += std::exp(z_TM[t][m].item<double>());
    sum += std::log(total) - z_TM[t][label].item<double>();
  }
  const auto term = make("domain_classifier");
  EXPECT_NEAR(value_of(*term, classified(z_TM), labelled(domains)).item<double>(), sum / 4, 1e-12);
  expect_gradients(
      [&](const auto& in) { return value_of(*term, classified(in[0]), labelled(domains)); },
      {z_TM.clone()});
}

TEST(DomainClassifierTerm, IsZeroWithoutLabelsAndOutsideOfTraining) {
  const auto term = make("domain_classifier");
  const Routing routing = classified(normal({2, kDomains}, 8));
  EXPECT_EQ(value_of(*term, routing, labelled({-1, -1})).item<double>(), 0);
  EXPECT_EQ(value_of(*term, routing, {}).item<double>(), 0);
  Routing without = routing;
  without.domain_logits_TM = Tensor();
  LayerContext context = labelled({0, 1});
  context.training = false;
  EXPECT_EQ(value_of(*term, without, context).item<double>(), 0);
}

TEST(DomainClassifierTerm, RefusesToTeachNobodyOrNothing) {
  const auto term = make("domain_classifier");
  const Routing routing = classified(normal({2, kDomains}, 8));
  Routing without = routing;
  without.domain_logits_TM = Tensor();
  EXPECT_ERROR(term->sums({without, labelled({0, 1})}),
               "expected a router with a classifier of domains, got one without. Take router.kind "
               "= \"domain_aware\"");
  LayerContext none;
  none.training = true;
  EXPECT_ERROR(term->sums({routing, none}), "expected the domain of each token, got none");
  EXPECT_ERROR(term->sums({routing, labelled({0})}),
               "expected domains_T to be int64 of shape (T=2)");
  EXPECT_ERROR(term->sums({routing, labelled({0, 3})}),
               "expected domains below the 3 that the router tells apart, got 3. Raise "
               "router.domains");
}

}  // namespace

}  // namespace moe::balance::terms_of_routers_test
