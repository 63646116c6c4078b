// Sums of probabilities and logsumexp. T tokens, E experts, G groups.
#include <cmath>
#include <limits>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/instruction_sets.h>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/ops/softmax.h>
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

/// The sum over tokens in plain loops.
Tensor naive_sums(const Tensor& scores_TE, const Tensor& valid_T, bool normalise, int64_t groups) {
  const int64_t T = scores_TE.size(0), E = scores_TE.size(1);
  Tensor sums_GE = at::zeros({groups, E}, at::kDouble);
  for (int64_t t = 0; t < T; ++t) {
    if (valid_T.defined() && !valid_T[t].item<bool>()) continue;
    double total = 0;
    for (int64_t e = 0; e < E; ++e) total += scores_TE[t][e].item<double>();
    for (int64_t e = 0; e < E; ++e)
      sums_GE[t / (T / groups)][e] +=
          scores_TE[t][e].item<double>() / (normalise ? std::max(total, 1e-20) : 1);
  }
  return sums_GE;
}

TEST(ProbabilitySums, AgreeWithLoops) {
  const Tensor scores_TE = scores(12, 7);
  for (const bool normalise : {true, false})
    for (const bool padded : {true, false})
      for (const int64_t groups : {1, 3}) {
        const Tensor valid_T = padded ? normal({12}, 5).gt(-0.3) : Tensor();
        const Tensor expected = naive_sums(scores_TE, valid_T, normalise, groups);
        for (const auto type : {at::kDouble, at::kFloat})
          expect_close(probability_sums(scores_TE.to(type), valid_T, normalise, groups), expected,
                       1e-6);
      }
}

TEST(ProbabilitySums, AgreeWithTheFormulaOnEveryInstructionSet) {
  for (const auto& [T, E] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 8}, {40, 17}, {900, 20}, {64, 300}})
    for (const bool normalise : {true, false})
      for (const int64_t groups : {int64_t{1}, T % 4 == 0 ? int64_t{4} : T}) {
        SCOPED_TRACE(T);
        const Tensor valid_T = T > 1 ? normal({T}, 5).gt(-0.5) : Tensor();
        expect_formula(
            [&](const Tensor& in) { return probability_sums(in, valid_T, normalise, groups); },
            // A row of nothing has no slope that float32 could hold.
            scores(T, E) + 0.01);
      }
}

TEST(ProbabilitySums, AgreeWithCentralDifferences) {
  for (const bool normalise : {true, false})
    expect_gradients([&](const auto& in) { return probability_sums(in[0], {}, normalise, 2); },
                     {(normal({4, 3}, 6).square() + 0.1).contiguous()});
}

TEST(ProbabilitySums, SkipPaddingWhateverItHolds) {
  Tensor scores_TE = at::softmax(normal({4, 5}, 7), 1).to(at::kFloat);
  const Tensor valid_T = at::tensor({1, 0, 1, 1}, at::kLong).gt(0);
  const Tensor before = probability_sums(scores_TE, valid_T, true);
  scores_TE[1].fill_(std::nan(""));
  expect_identical(probability_sums(scores_TE, valid_T, true), before);
}

TEST(ProbabilitySums, TakeNoTokensAndNoGroups) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    expect_identical(probability_sums(at::zeros({0, 3}, type), {}, true),
                     at::zeros({1, 3}, at::kDouble));
    expect_identical(probability_sums(at::zeros({0, 3}, type), {}, true, 0),
                     at::zeros({0, 3}, at::kDouble));
  }
  EXPECT_ERROR(probability_sums(at::zeros({5, 3}), {}, true, 2), "groups of equal size");
}

TEST(ProbabilitySums, ThreadsChangeNoBit) {
  const Tensor scores_TE = scores(3000, 24).to(at::kFloat);
  std::vector<Tensor> found;
  for (const int threads : {1, 2, 3}) {
    const WithThreads with(threads);
    found.push_back(probability_sums(scores_TE, {}, true));
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
