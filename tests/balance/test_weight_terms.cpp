// Terms on weights, against plain loops. D width, E experts, F hidden.
#include <cmath>
#include <tests/balance/fixtures.h>
#include <tests/support/message_of.h>

#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>

namespace moe::balance::weight_terms_test {

namespace {

using moe::test::expect_gradients;
using moe::test::normal;
using namespace moe::test::balance;

constexpr int64_t D = 5, F = 3;

/// Router, two stacked matrices and biases.
std::vector<Tensor> parameters(uint64_t seed) {
  return {normal({kExperts, D}, seed), normal({kExperts, F, D}, seed + 1),
          normal({kExperts, D, F}, seed + 2), normal({kExperts, F}, seed + 3)};
}

LayerWeights weights_of(const std::vector<Tensor>& p) {
  const auto what = [](Role role) { return ParameterInfo{.role = role, .per_expert = true}; };
  return {.router = {{"bias", normal({kExperts}, 1), what(Role::kBias)},
                     {"projection", normal({kExperts, D}, 2), {.role = Role::kScores}},
                     {"any_name", p[0], what(Role::kScores)}},
          .experts = {{"w_in", p[1], what(Role::kMatrix)},
                      {"w_out", p[2], what(Role::kMatrix)},
                      {"b_in", p[3], what(Role::kBias)}}};
}

Tensor value_on(const Term& term, const LayerWeights& weights) {
  const Routing routing = routing_of(logits_of(60));
  const LayerContext context;
  return value_of(term, BalanceInputs{routing, context, &weights});
}

Table of(const std::string& whose, const std::string& form) {
  Table settings = setting("of", whose);
  settings.set("form", form);
  return settings;
}

/// All numbers of one expert of the given tensors.
std::vector<double> row_of(const std::vector<Tensor>& stacked, int64_t expert) {
  std::vector<double> row;
  for (const Tensor& tensor : stacked) {
    const Tensor numbers = tensor[expert].contiguous().flatten();
    for (int64_t i = 0; i < numbers.numel(); ++i) row.push_back(numbers[i].item<double>());
  }
  return row;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double total = 0;
  for (size_t i = 0; i < a.size(); ++i) total += a[i] * b[i];
  return total;
}

double naive_orthogonality(const std::vector<Tensor>& stacked, bool squared) {
  double total = 0, pairs = 0;
  for (int64_t i = 0; i < kExperts; ++i)
    for (int64_t j = 0; j < kExperts; ++j) {
      if (i == j) continue;
      const auto a = row_of(stacked, i), b = row_of(stacked, j);
      const double cosine = dot(a, b) / std::sqrt(dot(a, a) * dot(b, b));
      total += squared ? cosine * cosine : cosine;
      ++pairs;
    }
  return total / pairs;
}

TEST(OrthogonalityTerm, AgreesWithItsNaiveTwin) {
  const auto p = parameters(61);
  for (const bool squared : {true, false}) {
    const std::string form = squared ? "squared" : "signed";
    EXPECT_NEAR(value_on(*make("orthogonality", of("router", form)), weights_of(p)).item<double>(),
                naive_orthogonality({p[0]}, squared), 1e-12);
    EXPECT_NEAR(value_on(*make("orthogonality", of("experts", form)), weights_of(p)).item<double>(),
                naive_orthogonality({p[1], p[2]}, squared), 1e-12);
  }
}

TEST(OrthogonalityTerm, IsZeroForOrthogonalOneForParallelAndFiniteForZeroWeights) {
  auto p = parameters(62);
  for (const std::string form : {"squared", "signed"}) {
    const auto term = make("orthogonality", of("router", form));
    p[0] = at::eye(kExperts, D, at::kDouble) * 3;
    EXPECT_NEAR(value_on(*term, weights_of(p)).item<double>(), 0, 1e-15);
    p[0] = at::ones({kExperts, D}, at::kDouble) * normal({kExperts, 1}, 63).abs();
    EXPECT_NEAR(value_on(*term, weights_of(p)).item<double>(), 1, 1e-12);
    p[0] = at::zeros({kExperts, D}, at::kDouble).set_requires_grad(true);
    const Tensor value = value_on(*term, weights_of(p));
    EXPECT_EQ(value.item<double>(), 0);
    value.backward();
    EXPECT_TRUE(p[0].grad().isfinite().all().item<bool>());
  }
}

TEST(OrthogonalityTerm, GradientsAgreeWithCentralDifferences) {
  for (const std::string whose : {"router", "experts"})
    for (const std::string form : {"squared", "signed"}) {
      SCOPED_TRACE(whose + ", " + form);
      const auto term = make("orthogonality", of(whose, form));
      expect_gradients([&](const auto& in) { return value_on(*term, weights_of(in)); },
                       parameters(64));
    }
}

TEST(OrthogonalityTerm, RefusesWeightsThatHaveNoRowForEachExpert) {
  const LayerWeights none{
      .router = {{"weight", normal({kExperts, D}, 65), {.role = Role::kMatrix}}},
      .experts = {{"w_in", normal({kExperts, F, D}, 66), {.role = Role::kBias}}}};
  EXPECT_ERROR(value_on(*make("orthogonality"), none), "a matrix of scores of 4 rows");
  EXPECT_ERROR(value_on(*make("orthogonality", setting("of", "experts")), none),
               "expected experts with stacked matrices");
}

TEST(ExpertL2Term, IsHalfTheSumOfSquaresAndItsGradientTheWeight) {
  auto p = parameters(67);
  for (const bool biases : {false, true}) {
    for (Tensor& tensor : p) tensor = tensor.detach().clone().set_requires_grad(true);
    double total = 0;
    for (size_t i = 1; i < (biases ? 4u : 3u); ++i)
      for (int64_t e = 0; e < kExperts; ++e)
        for (const double w : row_of({p[i].detach()}, e)) total += w * w / 2;
    const Tensor value = value_on(*make("expert_l2", setting("biases", biases)), weights_of(p));
    EXPECT_NEAR(value.item<double>(), total, 1e-12 * total);
    value.backward();
    EXPECT_FALSE(p[0].grad().defined()) << "the router does not decay";
    EXPECT_TRUE(p[1].grad().allclose(p[1], 1e-12, 1e-12));
    EXPECT_TRUE(p[2].grad().allclose(p[2], 1e-12, 1e-12));
    EXPECT_EQ(p[3].grad().defined(), biases);
  }
  expect_gradients(
      [&](const auto& in) {
        return value_on(*make("expert_l2", setting("biases", true)), weights_of(in));
      },
      parameters(68));
}

TEST(WeightTerms, AreZeroWhereNoWeightsAreGiven) {
  for (const std::string kind : {"orthogonality", "expert_l2"})
    EXPECT_EQ(value_of(*make(kind), routing_of(logits_of(69))).item<double>(), 0);
}

}  // namespace

}  // namespace moe::balance::weight_terms_test
