// Usage that runs over steps, against plain loops. E experts.
#include <tests/balance/fixtures.h>
#include <tests/support/message_of.h>

#include <ATen/ops/equal.h>

namespace moe::balance::usage_variance_test {

namespace {

using moe::test::expect_gradients;
using namespace moe::test::balance;

using Counts = std::vector<int64_t>;

const std::vector<Counts> kSteps = {{9, 1, 0, 2}, {0, 0, 0, 0}, {3, 3, 3, 3}, {0, 8, 1, 7}};

Table decay(double value) {
  return setting("decay", value);
}

/// The variance of the usage after `past` steps, of which a step without pairs is none, and a
/// present with mean probabilities `p`.
double naive(const std::vector<Counts>& past, const std::vector<double>& p, bool cumulative,
             double decay) {
  std::vector<double> usage(kExperts, 1.0 / kExperts);
  double steps = 0;
  const auto weight = [&] { return cumulative ? 1 / (steps + 1) : 1 - decay; };
  for (const Counts& counts : past) {
    double pairs = 0;
    for (const int64_t count : counts) pairs += static_cast<double>(count);
    if (pairs == 0) continue;
    for (size_t e = 0; e < kExperts; ++e)
      usage[e] += weight() * (static_cast<double>(counts[e]) / pairs - usage[e]);
    ++steps;
  }
  double mean = 0, variance = 0;
  for (size_t e = 0; e < kExperts; ++e) usage[e] += weight() * (p[e] - usage[e]);
  for (const double u : usage) mean += u / kExperts;
  for (const double u : usage) variance += (u - mean) * (u - mean) / kExperts;
  return variance;
}

/// Mean probabilities over the tokens.
std::vector<double> present(const Routing& routing) {
  std::vector<double> p(kExperts);
  double tokens = 0;
  for (int64_t t = 0; t < routing.tokens(); ++t) {
    ++tokens;
    for (size_t e = 0; e < kExperts; ++e)
      p[e] += routing.scores_TE[t][static_cast<int64_t>(e)].item<double>();
  }
  for (double& value : p) value /= tokens;
  return p;
}

void step(Term& term, const Counts& counts, int64_t number = 0) {
  term.end_step({.counts_E = at::tensor(counts, at::kLong), .step = number});
}

TEST(UsageVarianceTerm, AgreesWithItsNaiveTwinOverSteps) {
  for (const bool cumulative : {false, true}) {
    Table settings = decay(0.75);
    settings.set("average", cumulative ? "cumulative" : "exponential");
    const auto term = make("usage_variance", settings);
    term->to(at::kDouble);  // else the buffers round to float32
    std::vector<Counts> past;
    for (size_t i = 0; i <= kSteps.size(); ++i) {
      const Routing routing = routing_of(logits_of(40 + i));
      EXPECT_NEAR(value_of(*term, routing).item<double>(),
                  naive(past, present(routing), cumulative, 0.75), 1e-12)
          << "after " << i << " steps";
      if (i == kSteps.size()) break;
      past.push_back(kSteps[i]);
      step(*term, kSteps[i], static_cast<int64_t>(i));
    }
  }
}

TEST(UsageVarianceTerm, HasItsValuesAtBalanceAndCollapse) {
  const auto term = make("usage_variance", decay(0.5));
  const double all_on_one = (1.0 - 1.0 / kExperts) / kExperts;
  EXPECT_NEAR(value_of(*term, collapsed()).item<double>(), all_on_one / 4, 1e-12);
  for (int64_t i = 0; i < 40; ++i) step(*term, {12, 0, 0, 0}, i);
  EXPECT_NEAR(value_of(*term, collapsed()).item<double>(), all_on_one, 1e-6);
  for (int64_t i = 0; i < 40; ++i) step(*term, {3, 3, 3, 3}, i);
  const Tensor even_TE = logits_of(50) * 0;
  EXPECT_NEAR(value_of(*term, routing_of(even_TE)).item<double>(), 0, 1e-12);
}

TEST(UsageVarianceTerm, MovesItsBuffersAtTheEndOfStepsOnly) {
  const auto term = make("usage_variance", decay(0.5));
  const auto state = [&] {
    std::vector<Tensor> copies;
    for (const auto& item : term->named_buffers()) copies.push_back(item.value().clone());
    return copies;
  };
  ASSERT_EQ(term->named_buffers().keys(), (std::vector<std::string>{"usage", "steps"}));
  const auto before = state();
  value_of(*term, routing_of(logits_of(51)), {{.training = true}});
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(at::equal(state()[i], before[i]));
  step(*term, {8, 0, 0, 0});
  const std::vector<float> expected = {0.625f, 0.125f, 0.125f, 0.125f};
  EXPECT_TRUE(at::equal(state()[0], at::tensor(expected)));
  EXPECT_EQ(state()[1].item<double>(), 1);
}

TEST(UsageVarianceTerm, PushesProbabilityAwayFromWhatWasBusy) {
  const auto term = make("usage_variance", decay(0.5));
  for (int64_t i = 0; i < 5; ++i) step(*term, {0, 10, 0, 0}, i);
  Tensor logits_TE = (logits_of(52) * 0).set_requires_grad(true);
  value_of(*term, routing_of(logits_TE)).backward();
  EXPECT_GT(logits_TE.grad().select(1, 1).min().item<double>(), 0);
  expect_gradients([&](const auto& in) { return value_of(*term, routing_of(in[0])); },
                   {logits_of(53)});
}

TEST(UsageVarianceTerm, RefusesCountsOfAnotherLayer) {
  EXPECT_ERROR(step(*make("usage_variance"), {1, 2, 3}), "one count for each of 4 experts");
}

}  // namespace

}  // namespace moe::balance::usage_variance_test
