// Sums of probabilities and logsumexp. T tokens, E experts, G groups.
#include <cmath>
#include <limits>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/instruction_sets.h>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <moe/ops/scores.h>

namespace moe::ops::scores_test {

namespace {

using cpu::available_instruction_sets;
using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::WithInstructionSet;
using moe::test::WithThreads;

using Function = std::function<Tensor(const Tensor&)>;

/// A function's value and gradient at `input` in another type.
std::pair<Tensor, Tensor> run(const Function& function, const Tensor& input, at::ScalarType type) {
  Tensor leaf = input.to(type, /*non_blocking=*/false, /*copy=*/true);
  leaf.set_requires_grad(true);
  const Tensor value = function(leaf);
  const Tensor loss = (value.to(at::kDouble) * normal(value.sizes(), 71)).sum();
  return {value, torch::autograd::grad({loss}, {leaf})[0]};
}

void expect_formula(const Function& function, const Tensor& input) {
  const auto [value, gradient] = run(function, input, at::kDouble);
  for (const auto set : available_instruction_sets()) {
    SCOPED_TRACE(cpu::name_of(set));
    const WithInstructionSet with(set);
    const auto [got, slope] = run(function, input, at::kFloat);
    expect_close(got, value, 2e-6, "value");
    expect_close(slope, gradient, 2e-6, "gradient");
  }
}

/// Rows that do not sum to 1; some of nothing at all.
Tensor scores(int64_t T, int64_t E) {
  Tensor scores_TE = normal({T, E}, 3).square().to(at::kFloat).to(at::kDouble);
  for (int64_t t = 2; t < T; t += 5) scores_TE[t].zero_();
  return scores_TE;
}

Tensor bounds(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong);
}

/// Some ways to divide T tokens into groups.
std::vector<Tensor> divisions(int64_t T) {
  return {Tensor(), bounds({0, T / 3, T}), bounds({0, 0, T / 2, T / 2, T, T}),
          at::arange(T + 1, at::kLong)};
}

/// The sum over tokens in plain loops.
Tensor naive_sums(const Tensor& scores_TE, bool normalise, const Tensor& groups_G1) {
  const int64_t E = scores_TE.size(1);
  const Tensor all = groups_G1.defined() ? groups_G1 : bounds({0, scores_TE.size(0)});
  Tensor sums_GE = at::zeros({all.size(0) - 1, E}, at::kDouble);
  for (int64_t g = 0; g + 1 < all.size(0); ++g)
    for (int64_t t = all[g].item<int64_t>(); t < all[g + 1].item<int64_t>(); ++t) {
      double total = 0;
      for (int64_t e = 0; e < E; ++e) total += scores_TE[t][e].item<double>();
      for (int64_t e = 0; e < E; ++e)
        sums_GE[g][e] += scores_TE[t][e].item<double>() / (normalise ? std::max(total, 1e-20) : 1);
    }
  return sums_GE;
}

TEST(ProbabilitySums, AgreeWithLoops) {
  const Tensor scores_TE = scores(12, 7);
  for (const bool normalise : {true, false})
    for (const Tensor& groups_G1 : divisions(12)) {
      const Tensor expected = naive_sums(scores_TE, normalise, groups_G1);
      for (const auto type : {at::kDouble, at::kFloat})
        expect_close(probability_sums(scores_TE.to(type), normalise, groups_G1), expected, 1e-6);
    }
}

TEST(ProbabilitySums, AgreeWithTheFormulaOnEveryInstructionSet) {
  for (const auto& [T, E] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 8}, {40, 17}, {900, 20}, {64, 300}})
    for (const bool normalise : {true, false})
      for (const Tensor& groups_G1 : divisions(T)) {
        SCOPED_TRACE(T);
        expect_formula([&](const Tensor& in) { return probability_sums(in, normalise, groups_G1); },
                       // A row of nothing has no slope that float32 could hold.
                       scores(T, E) + 0.01);
      }
}

TEST(ProbabilitySums, AgreeWithCentralDifferences) {
  for (const bool normalise : {true, false})
    for (const Tensor& groups_G1 : divisions(5))
      expect_gradients(
          [&](const auto& in) { return probability_sums(in[0], normalise, groups_G1); },
          {(normal({5, 3}, 6).square() + 0.1).contiguous()});
}

TEST(ProbabilitySums, OfAGroupAreWhatItHasAlone) {
  const Tensor scores_TE = scores(1500, 9);
  const Tensor groups_G1 = bounds({0, 700, 701, 1500});
  for (const auto type : {at::kFloat, at::kDouble}) {
    const Tensor sums_GE = probability_sums(scores_TE.to(type), true, groups_G1);
    for (int64_t g = 0; g < 3; ++g) {
      const Tensor own_TE = scores_TE.to(type).slice(0, groups_G1[g].item<int64_t>(),
                                                     groups_G1[g + 1].item<int64_t>());
      expect_identical(probability_sums(own_TE, true)[0], sums_GE[g]);
    }
  }
}

TEST(ProbabilitySums, TakeNoTokensAndNoGroups) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    expect_identical(probability_sums(at::zeros({0, 3}, type), true),
                     at::zeros({1, 3}, at::kDouble));
    expect_identical(probability_sums(at::zeros({0, 3}, type), true, bounds({0})),
                     at::zeros({0, 3}, at::kDouble));
  }
  for (const std::vector<int64_t>& wrong : {std::vector<int64_t>{0, 2}, {1, 5}, {0, 6, 5}})
    EXPECT_ERROR(probability_sums(at::zeros({5, 3}), true, bounds(wrong)),
                 "groups that rise from 0 to T=5");
  EXPECT_ERROR(probability_sums(at::zeros({5, 3}), true, at::zeros({2})), "bounds of groups");
}

TEST(ProbabilitySums, ThreadsChangeNoBit) {
  const Tensor scores_TE = scores(3000, 24).to(at::kFloat);
  std::vector<Tensor> found;
  for (const int threads : {1, 2, 3}) {
    const WithThreads with(threads);
    found.push_back(probability_sums(scores_TE, true));
  }
  expect_identical(found[1], found[0]);
  expect_identical(found[2], found[0]);
}

TEST(LogSumExp, AgreesWithTheFormulaOnEveryInstructionSet) {
  for (const auto& [T, E] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {5, 8}, {9, 100}})
    expect_formula([](const Tensor& in) { return log_sum_exp(in); },
                   (normal({T, E}, 8) * 10).to(at::kFloat));
  expect_gradients([](const auto& in) { return log_sum_exp(in[0]); }, {normal({3, 4}, 9)});
}

TEST(LogSumExp, TreatsInfinitiesAndNanAsLibtorch) {
  const float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
  const Tensor logits_TE = at::tensor({-inf, -inf, -inf, inf, 0.0f, -inf, nan, inf, 1.0f, nan, -inf,
                                       -inf, 1.0f, -inf, 2.0f, inf, inf, -inf})
                               .view({6, 3});
  const WithInstructionSet reference(cpu::InstructionSet::kLibtorch);
  const Tensor expected = log_sum_exp(logits_TE);
  for (const auto set : available_instruction_sets()) {
    const WithInstructionSet with(set);
    const Tensor got = log_sum_exp(logits_TE);
    expect_identical(got.isnan(), expected.isnan(), cpu::name_of(set));
    expect_close(got.nan_to_num(), expected.nan_to_num(), 1e-6, cpu::name_of(set));
  }
}

}  // namespace

}  // namespace moe::ops::scores_test
