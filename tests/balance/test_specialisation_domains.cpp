// Specialisation over domains. T tokens, E experts, C domains.
#include <cmath>
#include <tests/balance/fixtures.h>
#include <tests/support/compare.h>
#include <tests/support/message_of.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/measure.h>
#include <moe/parallel/threads.h>

namespace moe::balance::specialisation_domains_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::balance::kExperts;
using moe::test::balance::logits_of;
using moe::test::balance::make;
using moe::test::balance::routing_of;
using moe::test::balance::setting;
using moe::test::balance::value_of;

constexpr int64_t T = 9, C = 3;

std::shared_ptr<Term> term() {
  return make("specialisation", setting("over", "domains"));
}

/// Domain 1 has no token; one token is of unknown domain.
LayerContext context_of(int64_t first = 0, int64_t tokens = T) {
  LayerContext context;
  context.training = true;
  context.tokens.num_domains = C;
  context.tokens.domains_T = at::tensor(std::vector<int64_t>{0, 2, 0, 2, 0, -1, 0, 2, 2}, at::kLong)
                                 .slice(0, first, first + tokens);
  return context;
}

double naive(const Routing& routing, const LayerContext& context) {
  std::vector<std::vector<double>> p(C, std::vector<double>(kExperts)), joint = p;
  double all = 0;
  std::vector<double> tokens(C), of_expert(kExperts);
  for (int64_t t = 0; t < routing.tokens(); ++t) {
    const int64_t c = context.tokens.domains_T[t].item<int64_t>();
    if (c < 0) continue;
    for (size_t e = 0; e < kExperts; ++e)
      joint[static_cast<size_t>(c)][e] +=
          routing.scores_TE[t][static_cast<int64_t>(e)].item<double>();
    ++tokens[static_cast<size_t>(c)];
    ++all;
  }
  for (size_t c = 0; c < C; ++c)
    for (size_t e = 0; e < kExperts; ++e) of_expert[e] += joint[c][e] / all;
  double information = 0;
  for (size_t c = 0; c < C; ++c)
    for (size_t e = 0; e < kExperts; ++e)
      if (const double both = joint[c][e] / all; both > 0)
        information += both * std::log(both / (of_expert[e] * tokens[c] / all));
  return -information;
}

TEST(SpecialisationOverDomains, AgreesWithItsNaiveTwin) {
  const Routing routing = routing_of(logits_of(31, T));
  const double expected = naive(routing, context_of());
  EXPECT_LT(expected, -1e-3);
  EXPECT_NEAR(value_of(*term(), routing, context_of()).item<double>(), expected, 1e-12);
}

TEST(SpecialisationOverDomains, GradientsEqualCentralDifferences) {
  const LayerContext context = context_of();
  expect_gradients([&](const auto& in) { return value_of(*term(), routing_of(in[0]), context); },
                   {logits_of(31, T)});
}

TEST(SpecialisationOverDomains, IsLowestWhenEachDomainHasExpertsOfItsOwn) {
  LayerContext context;
  context.tokens.num_domains = 2;
  context.tokens.domains_T = at::tensor(std::vector<int64_t>{0, 1, 0, 1}, at::kLong);
  Tensor logits_TE = at::zeros({4, kExperts}, at::kDouble);
  // Tokens of domain 0 are torn between experts 0 and 1, those of domain 1 between 2 and 3.
  for (int64_t t = 0; t < 4; ++t) logits_TE[t].slice(0, t % 2 * 2, t % 2 * 2 + 2).fill_(1000);
  EXPECT_NEAR(value_of(*term(), routing_of(logits_TE), context).item<double>(), -std::log(2.0),
              1e-12);
  EXPECT_NEAR(value_of(*term(), moe::test::balance::collapsed(4), context).item<double>(), 0,
              1e-12);
}

TEST(SpecialisationOverDomains, IsZeroWithoutTokensOrKnownDomains) {
  LayerContext context = context_of(0, 0);
  EXPECT_EQ(value_of(*term(), routing_of(logits_of(31, 0)), context).item<double>(), 0);
  context.tokens.domains_T = at::zeros({T}, at::kLong).fill_(-1);
  EXPECT_EQ(value_of(*term(), routing_of(logits_of(31, T)), context).item<double>(), 0);
}

TEST(SpecialisationOverDomains, IsThatOfAllTokensOnSeveralRanks) {
  const double expected =
      value_of(*term(), routing_of(logits_of(31, T)), context_of()).item<double>();
  for (const std::vector<int64_t>& tokens : {std::vector<int64_t>{4, 5}, {9, 0}})
    parallel::run_ranks(2, [&](const std::shared_ptr<parallel::Communicator>& group) {
      const int64_t first = group->rank() == 0 ? 0 : tokens[0];
      const int64_t own = tokens[static_cast<size_t>(group->rank())];
      const Routing routing = routing_of(logits_of(31, T).slice(0, first, first + own));
      const LayerContext context = context_of(first, own);
      const auto report = measure({{"specialisation", 1, term()}}, {routing, context}, *group);
      EXPECT_NEAR(report.terms[0].value.item<double>(), expected, 1e-12);
    });
}

TEST(SpecialisationOverDomains, NeedsLabelsInTraining) {
  const Routing routing = routing_of(logits_of(31, T));
  LayerContext context;
  EXPECT_EQ(value_of(*term(), routing, context).item<double>(), 0) << "in evaluation";
  context.training = true;
  EXPECT_ERROR(value_of(*term(), routing, context), "expected the domain of each token");
  context = context_of();
  context.tokens.num_domains = 2;
  EXPECT_ERROR(value_of(*term(), routing, context), "domains below num_domains=2");
  context = context_of(0, 4);
  EXPECT_ERROR(value_of(*term(), routing, context), "int64 of shape (T=9)");
  EXPECT_ERROR(make("specialisation", setting("over", "layers")), "tokens, domains");
}

}  // namespace

}  // namespace moe::balance::specialisation_domains_test
