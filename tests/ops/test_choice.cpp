// Choices in float32 on every instruction set against the formula in float64, which
// tests/routing compares with loops; the formula's gradients against central differences.
// T tokens, D width, E experts, K choices.
#include <cmath>
#include <limits>
#include <random>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/instruction_sets.h>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <moe/ops/choice.h>

namespace moe::ops::choice_test {

namespace {

using cpu::available_instruction_sets;
using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::spread;
using moe::test::WithInstructionSet;
using moe::test::WithThreads;

/// Which outputs a loss looks at.
struct Looks {
  bool weights = true, scores = false, logits = false;
};

struct Inputs {
  Tensor x_TD, w_ED, b_E, selection_E;

  Inputs(int64_t T, int64_t D, int64_t E, bool bias, bool selection, uint64_t seed)
      : x_TD(normal({T, D}, seed)), w_ED(normal({E, D}, seed + 1) / std::sqrt(D)) {
    // Numbers of float32, so that both precisions see the same.
    if (bias) b_E = normal({E}, seed + 2);
    if (selection) selection_E = normal({E}, seed + 3) * 0.1;
    for (Tensor* tensor : {&x_TD, &w_ED, &b_E, &selection_E})
      if (tensor->defined()) *tensor = tensor->to(at::kFloat).to(at::kDouble);
  }

  std::vector<Tensor> leaves(at::ScalarType type) const {
    std::vector<Tensor> out = {x_TD, w_ED};
    if (b_E.defined()) out.push_back(b_E);
    for (Tensor& leaf : out) leaf = leaf.to(type, /*non_blocking=*/false, /*copy=*/true);
    for (Tensor& leaf : out) leaf.set_requires_grad(true);
    return out;
  }
};

struct Results {
  Choices choices;
  std::vector<Tensor> gradients;
};

/// choose_linear, or a product and choose, and the gradients of a loss with random coefficients.
Results run(const Inputs& inputs, const ChoiceRule& rule, const Looks& looks, at::ScalarType type,
            bool apart = false) {
  const auto leaves = inputs.leaves(type);
  const Tensor b_E = leaves.size() > 2 ? leaves[2] : Tensor();
  Results out;
  if (apart) {
    Tensor logits_TE = at::matmul(leaves[0], leaves[1].t());
    if (b_E.defined()) logits_TE = logits_TE + b_E;
    out.choices = choose(logits_TE, rule, inputs.selection_E);
  } else {
    out.choices = choose_linear(leaves[0], leaves[1], b_E, rule, inputs.selection_E);
  }
  Tensor loss = at::zeros({}, at::kDouble);
  const auto look = [&](const Tensor& output, uint64_t seed) {
    loss = loss + (output.to(at::kDouble) * normal(output.sizes(), seed)).sum();
  };
  if (looks.weights) look(out.choices.weights_TK, 91);
  if (looks.scores) look(out.choices.scores_TE, 92);
  if (looks.logits) look(out.choices.logits_TE, 93);
  out.gradients = torch::autograd::grad({loss}, leaves);
  return out;
}

/// Close, and for float64 (which the same formula computes) the same.
void expect_same(const Results& got, const Results& expected) {
  expect_identical(got.choices.experts_TK, expected.choices.experts_TK, "experts");
  expect_close(got.choices.logits_TE, expected.choices.logits_TE, 1e-5, "logits");
  expect_close(got.choices.scores_TE, expected.choices.scores_TE, 1e-6, "scores");
  expect_close(got.choices.weights_TK, expected.choices.weights_TK, 1e-5, "weights");
  ASSERT_EQ(got.gradients.size(), expected.gradients.size());
  for (size_t i = 0; i < got.gradients.size(); ++i)
    expect_close(got.gradients[i], expected.gradients[i], 2e-5, "gradient " + std::to_string(i));
}

void expect_formula(const Inputs& inputs, const ChoiceRule& rule, const Looks& looks) {
  const Results expected = run(inputs, rule, looks, at::kDouble);
  for (const auto set : available_instruction_sets()) {
    SCOPED_TRACE(cpu::name_of(set));
    const WithInstructionSet with(set);
    expect_same(run(inputs, rule, looks, at::kFloat), expected);
    expect_same(run(inputs, rule, looks, at::kFloat, /*apart=*/true), expected);
  }
}

TEST(Choice, AgreesWithTheFormulaOnManyShapesRulesAndLosses) {
  std::mt19937 random(1);
  const auto any = [&random](std::vector<int64_t> of) { return of[random() % of.size()]; };
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    const int64_t E = any({1, 2, 3, 8, 15, 16, 17, 31, 33, 64, 100}), D = any({1, 5, 16, 40});
    const int64_t T = any({1, 2, 7, 30}), K = 1 + static_cast<int64_t>(random()) % E % 9;
    ChoiceRule rule = {.score = round % 2 ? Score::kSigmoid : Score::kSoftmax,
                       .k = round % 7 == 0 ? E : K,
                       .sum_to_one = random() % 2 == 0,
                       .scale = random() % 2 ? 1.0 : 2.5};
    if (random() % 3 == 0) rule.temperature = 0.7;
    if (random() % 3 == 0) rule.epsilon = 0.1;
    if (random() % 3 == 0) rule.least_sum = 0.6;
    const uint32_t looks = 1 + random() % 7;
    const bool selection = random() % 2;
    expect_formula({T, D, E, random() % 2 == 0, selection, 10 + static_cast<uint64_t>(round)}, rule,
                   {(looks & 1) != 0, (looks & 2) != 0, (looks & 4) != 0});
  }
}

TEST(Choice, AgreesWithTheFormulaForManyExperts) {
  for (const auto score : {Score::kSoftmax, Score::kSigmoid})
    for (const int64_t K : {1, 8, 20})
      for (const bool sparse : {true, false})
        expect_formula({20, 24, score == Score::kSoftmax ? 4096 : 512, false, false, 5},
                       {.score = score, .k = K, .sum_to_one = K > 1}, {.scores = !sparse});
}

TEST(Choice, AgreesWithTheFormulaWithinGroups) {
  for (const auto score : {Score::kSoftmax, Score::kSigmoid})
    for (const bool two : {true, false})
      for (const int64_t groups : {4, 12, 24})
        for (const bool sum_to_one : {true, false})
          expect_formula({25, 8, 24, true, (score == Score::kSigmoid) == sum_to_one, 7},
                         {.score = score,
                          .k = 2,
                          .sum_to_one = sum_to_one,
                          .groups = groups,
                          .kept_groups = groups / 3 + 1,
                          .best_two = two},
                         {.scores = true});
}

TEST(Choice, ATemperatureIsOfTheSoftmaxAlone) {
  const ChoiceRule rule = {
      .score = Score::kSigmoid, .k = 1, .sum_to_one = false, .temperature = 0.5};
  const double expected = 1 / (1 + std::exp(-1.0));
  for (const auto type : {at::kFloat, at::kDouble}) {
    const Tensor l_11 = at::ones({1, 1}, type).set_requires_grad(true);
    const Choices found = choose(l_11, rule);
    EXPECT_NEAR(found.weights_TK.item<double>(), expected, 1e-6) << type;
    EXPECT_NEAR(found.scores_TE.item<double>(), expected, 1e-6) << type;
    found.weights_TK.sum().backward();
    EXPECT_NEAR(l_11.grad().item<double>(), expected * (1 - expected), 1e-6) << type;
  }
}

TEST(Choice, FormulaAgreesWithCentralDifferences) {
  for (const auto score : {Score::kSoftmax, Score::kSigmoid})
    for (const bool sum_to_one : {true, false}) {
      const ChoiceRule rule = {.score = score,
                               .k = 2,
                               .sum_to_one = sum_to_one,
                               .epsilon = 0.1,
                               .least_sum = 0.8,
                               .scale = 1.5,
                               .temperature = 0.6};
      expect_gradients(
          [&](const auto& in) {
            const Choices c = choose(in[0], rule);
            return at::cat({c.weights_TK.flatten(), c.scores_TE.flatten()});
          },
          {spread(normal({4, 6}, 3), 1e-3).contiguous()});
      expect_gradients(
          [&](const auto& in) {
            const Choices c = choose_linear(in[0], in[1], in[2], rule);
            return at::cat({c.weights_TK.flatten(), c.scores_TE.flatten(), c.logits_TE.flatten()});
          },
          {normal({3, 4}, 4), normal({5, 4}, 5), normal({5}, 6)});
    }
}

/// Rows with ties, infinities and NaN.
Tensor odd_logits(int64_t E) {
  const float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
  Tensor logits_TE = (normal({12, E}, 8) * 1.5).round().to(at::kFloat).contiguous();
  float* row = logits_TE.mutable_data_ptr<float>();
  for (int64_t e = 0; e < E; ++e) {
    row[e] = nan;
    row[E + e] = -inf;
    row[2 * E + e] = e % 3 ? -inf : nan;
    row[3 * E + e] = e == E / 2 ? 1 : -inf;
    row[4 * E + e] = 0;
    row[5 * E + e] = e % 2 ? inf : 1;
    row[6 * E + e] = e == E - 1 ? 1 : nan;
    row[7 * E + e] = e == 0 ? 1e30f : -1e30f;
  }
  row[8 * E + E / 3] = nan;
  row[9 * E + E / 3] = inf;
  row[10 * E + E / 3] = -inf;
  return logits_TE;
}

/// Close where finite, NaN and infinities in the same places.
void expect_alike(const Tensor& got, const Tensor& expected, const std::string& what) {
  expect_identical(got.isnan(), expected.isnan(), what);
  expect_close(got.nan_to_num(), expected.nan_to_num(), 1e-6, what);
}

TEST(Choice, TreatsTiesInfinitiesAndNanAsTheFormula) {
  for (const int64_t E : {1, 3, 8, 16, 21, 70})
    for (const auto score : {Score::kSoftmax, Score::kSigmoid})
      for (const bool sum_to_one : {true, false})
        for (const int64_t K : {int64_t{1}, std::min<int64_t>(E, 2), E}) {
          const ChoiceRule rule = {.score = score, .k = K, .sum_to_one = sum_to_one};
          const Tensor logits_TE = odd_logits(E);
          const WithInstructionSet reference(cpu::InstructionSet::kLibtorch);
          const Choices expected = choose(logits_TE, rule);
          for (const auto set : available_instruction_sets()) {
            SCOPED_TRACE(cpu::name_of(set) + " E=" + std::to_string(E));
            const WithInstructionSet with(set);
            const Choices got = choose(logits_TE, rule);
            expect_identical(got.experts_TK, expected.experts_TK, "experts");
            expect_alike(got.scores_TE, expected.scores_TE, "scores");
            expect_alike(got.weights_TK, expected.weights_TK, "weights");
          }
        }
}

TEST(Choice, GivesExactlyZeroToImpossibleExperts) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor logits_TE = at::tensor({0.5f, -inf, -200.0f, 1.0f, -inf}).view({1, 5});
  for (const auto set : available_instruction_sets()) {
    const WithInstructionSet with(set);
    const Tensor p_E = choose(logits_TE, {.k = 2}).scores_TE[0];
    for (const int64_t e : {1, 2, 4}) EXPECT_EQ(p_E[e].item<float>(), 0) << cpu::name_of(set);
    const Tensor s_E = choose(logits_TE, {.score = Score::kSigmoid, .k = 2}).scores_TE[0];
    for (const int64_t e : {1, 2, 4}) EXPECT_EQ(s_E[e].item<float>(), 0) << cpu::name_of(set);
  }
}

TEST(Choice, TakesNoTokens) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    const Inputs inputs(0, 4, 5, true, false, 1);
    const Results got = run(inputs, {.k = 2}, {.scores = true}, type);
    EXPECT_EQ(got.choices.experts_TK.sizes(), (std::vector<int64_t>{0, 2}));
    EXPECT_EQ(got.choices.scores_TE.sizes(), (std::vector<int64_t>{0, 5}));
    for (const Tensor& gradient : got.gradients)
      expect_close(gradient, at::zeros_like(gradient), 0);
  }
}

/// Outputs and gradients in one list.
std::vector<Tensor> all_of(const Results& results) {
  std::vector<Tensor> out = {results.choices.logits_TE, results.choices.scores_TE,
                             results.choices.experts_TK, results.choices.weights_TK};
  out.insert(out.end(), results.gradients.begin(), results.gradients.end());
  return out;
}

TEST(Choice, ThreadsChangeNoBit) {
  for (const int64_t E : {8, 200})
    for (const bool sparse : {true, false})
      for (const auto set : available_instruction_sets()) {
        if (set == cpu::InstructionSet::kLibtorch) continue;
        const WithInstructionSet with(set);
        const Inputs inputs(700, 48, E, true, false, 2);
        std::vector<std::vector<Tensor>> found;
        for (const int threads : {1, 2, 3, 1}) {
          const WithThreads on(threads);
          found.push_back(all_of(run(inputs, {.k = 2}, {.scores = !sparse}, at::kFloat)));
        }
        for (size_t i = 1; i < found.size(); ++i)
          for (size_t j = 0; j < found[0].size(); ++j)
            expect_identical(found[i][j], found[0][j], cpu::name_of(set));
      }
}

TEST(Choice, DoesNotDependOnOtherTokens) {
  for (const auto set : available_instruction_sets()) {
    if (set == cpu::InstructionSet::kLibtorch) continue;
    const WithInstructionSet with(set);
    for (const int64_t E : {5, 40}) {
      const Inputs inputs(90, 33, E, true, false, 4);
      const Tensor x_TD = inputs.x_TD.to(at::kFloat), w_ED = inputs.w_ED.to(at::kFloat);
      const Tensor b_E = inputs.b_E.to(at::kFloat);
      const Choices all = choose_linear(x_TD, w_ED, b_E, {.k = 2});
      for (const auto& [first, count] :
           std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {41, 17}}) {
        const Choices some =
            choose_linear(x_TD.slice(0, first, first + count), w_ED, b_E, {.k = 2});
        expect_identical(some.logits_TE, all.logits_TE.slice(0, first, first + count));
        expect_identical(some.weights_TK, all.weights_TK.slice(0, first, first + count));
      }
    }
  }
}

TEST(Choice, RefusesWhatItCannotServe) {
  EXPECT_ERROR(choose(at::zeros({2, 3}), {.k = 4}), "k in [1, E=3]");
  EXPECT_ERROR(choose(at::zeros({3}), {}), "logits of shape (T, E)");
  EXPECT_ERROR(choose(at::zeros({2, 3}), {}, at::zeros({2})), "selection bias of shape (E=3)");
  EXPECT_ERROR(choose(at::zeros({2, 4}), {.groups = 3, .kept_groups = 1}),
               "groups that divide E=4");
  EXPECT_ERROR(choose_linear(at::zeros({2, 3}), at::zeros({4, 2}), {}, {}), "expected x (T, D)");
  if (cpu::instruction_set() == cpu::InstructionSet::kLibtorch) return;
  Tensor logits_TE = normal({2, 3}, 1).to(at::kFloat);
  logits_TE.set_requires_grad(true);
  const Choices choices = choose(logits_TE, {.k = 2});
  EXPECT_ERROR(torch::autograd::grad({choices.scores_TE.square().sum()}, {logits_TE}, {},
                                     std::nullopt, /*create_graph=*/true),
               "no second derivative");
}

}  // namespace

}  // namespace moe::ops::choice_test
