// Cross entropy in chunks against the plain one. T tokens, D width, V vocabulary.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <moe/layers/chunked_loss.h>
#include <moe/ops/linear.h>

#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/message_of.h"
#include "tests/support/peak_memory.h"

namespace moe::test {
namespace {

using layers::cross_entropy;
using layers::CrossEntropyOptions;
using layers::Head;

constexpr int64_t T = 13, D = 5, V = 7;

/// A matrix, a bias and something that is not linear behind them.
Head head_of(const Tensor& w_VD, const Tensor& b_V) {
  return {
      [=](const Tensor& hidden_MD) { return (at::matmul(hidden_MD, w_VD.t()) + b_V).tanh() * 3; },
      w_VD.size(0)};
}

/// Every third target is ignored.
Tensor targets_with_gaps() {
  Tensor target_T = at::arange(T, at::kLong).mul_(5).remainder_(V);
  for (int64_t t = 0; t < T; t += 3) target_T[t] = -100;
  return target_T;
}

Tensor plain(const Head& head, const Tensor& hidden_TD, const Tensor& target_T, double smoothing) {
  return at::cross_entropy_loss(head.logits(hidden_TD), target_T, {}, at::Reduction::Sum, -100,
                                smoothing);
}

struct Found {
  Tensor loss;
  std::vector<Tensor> gradients;
};

template <class Loss>
Found with_gradients(const Loss& loss, const std::vector<Tensor>& leaves) {
  Found out;
  out.loss = loss();
  out.gradients = torch::autograd::grad({out.loss * 0.37}, leaves);
  return out;
}

TEST(ChunkedLoss, EqualsThePlainOneInValueAndGradientsForChunksOfAnySize) {
  const Tensor hidden_TD = normal({T, D}, 1).requires_grad_(true),
               w_VD = normal({V, D}, 2).requires_grad_(true),
               b_V = normal({V}, 3).requires_grad_(true);
  const Head head = head_of(w_VD, b_V);
  const std::vector<Tensor> leaves = {hidden_TD, w_VD, b_V};
  for (const Tensor& target_T : {targets_with_gaps(), at::arange(T, at::kLong).remainder(V)})
    for (const double smoothing : {0.0, 0.2}) {
      const Found expected =
          with_gradients([&] { return plain(head, hidden_TD, target_T, smoothing); }, leaves);
      for (const int64_t rows : {1, 2, 5, 100}) {
        const auto found = with_gradients(
            [&] {
              const CrossEntropyOptions options{.label_smoothing = smoothing,
                                                .logits_at_once = rows * V};
              const auto result = cross_entropy(head, hidden_TD, target_T, options);
              EXPECT_EQ(result.targets, target_T.ge(0).sum().item<int64_t>());
              return result.sum;
            },
            leaves);
        EXPECT_NEAR(found.loss.item<double>(), expected.loss.item<double>(), 1e-12) << rows;
        for (size_t i = 0; i < leaves.size(); ++i)
          expect_close(found.gradients[i], expected.gradients[i], 1e-12);
      }
    }
}

TEST(ChunkedLoss, HasTheGradientsOfCentralDifferences) {
  const Tensor target_T = targets_with_gaps();
  expect_gradients(
      [&](const std::vector<Tensor>& in) {
        return cross_entropy(head_of(in[1], in[2]), in[0].sin(), target_T,
                             {.label_smoothing = 0.1, .logits_at_once = 3 * V})
            .sum;
      },
      {normal({T, D}, 4), normal({V, D}, 5), normal({V}, 6)});
}

TEST(ChunkedLoss, FindsAnEmbeddingThatIsTheHead) {
  const Tensor w_VD = normal({V, D}, 7).requires_grad_(true);
  const Tensor ids_T = at::arange(T, at::kLong).remainder(V), target_T = targets_with_gaps();
  const Head head = {[&](const Tensor& hidden_MD) { return ops::linear(hidden_MD, w_VD); }, V};
  const auto loss = [&](bool in_chunks) {
    const Tensor hidden_TD = at::embedding(w_VD, ids_T);
    return in_chunks ? cross_entropy(head, hidden_TD, target_T, {.logits_at_once = 2 * V}).sum
                     : plain(head, hidden_TD, target_T, 0);
  };
  const auto expected = with_gradients([&] { return loss(false); }, {w_VD});
  const auto found = with_gradients([&] { return loss(true); }, {w_VD});
  expect_close(found.gradients[0], expected.gradients[0], 1e-12);
  // And through .grad(), which adds up what both uses give.
  loss(true).backward();
  expect_close(w_VD.grad() * 0.37, expected.gradients[0], 1e-12);
}

TEST(ChunkedLoss, SumsInFloat32WhatIsInBfloat16) {
  const Tensor hidden = normal({64, 32}, 8), w = normal({V, 32}, 9);
  const Tensor target_T = at::arange(64, at::kLong).remainder(V);
  const Tensor hidden_TD = hidden.to(at::kBFloat16).requires_grad_(true),
               w_VD = w.to(at::kBFloat16).requires_grad_(true);
  const Head head = {[&](const Tensor& h) { return at::matmul(h, w_VD.t()); }, V};
  const auto found = with_gradients(
      [&] { return cross_entropy(head, hidden_TD, target_T, {.logits_at_once = V}).sum; },
      {hidden_TD, w_VD});
  EXPECT_EQ(found.gradients[1].scalar_type(), at::kBFloat16);
  // 64 chunks of one row: the sum of 64 rounded gradients, rounded once.
  const Tensor exact_hidden = hidden_TD.detach().to(at::kDouble).requires_grad_(true),
               exact_w = w_VD.detach().to(at::kDouble).requires_grad_(true);
  const Head exact = {[&](const Tensor& h) { return at::matmul(h, exact_w.t()); }, V};
  const auto expected = with_gradients([&] { return plain(exact, exact_hidden, target_T, 0); },
                                       {exact_hidden, exact_w});
  EXPECT_NEAR(found.loss.item<double>(), expected.loss.item<double>(),
              0.01 * expected.loss.item<double>());
  const double off =
      (found.gradients[1].to(at::kDouble) - expected.gradients[1]).norm().item<double>() /
      expected.gradients[1].norm().item<double>();
  EXPECT_LT(off, 0.01);
}

TEST(ChunkedLoss, HasTheSameBitsForAnyNumberOfThreads) {
  const Tensor hidden = normal({300, 64}, 10).to(at::kFloat),
               w = normal({512, 64}, 11).to(at::kFloat);
  const Tensor target_T = at::arange(300, at::kLong);
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    const Tensor hidden_TD = hidden.clone().requires_grad_(true),
                 w_VD = w.clone().requires_grad_(true);
    const Head head = {[&](const Tensor& h) { return ops::linear(h, w_VD); }, 512};
    return with_gradients(
        [&] { return cross_entropy(head, hidden_TD, target_T, {.logits_at_once = 1 << 15}).sum; },
        {hidden_TD, w_VD});
  };
  const int before = at::get_num_threads();
  const auto one = run(1), two = run(2);
  at::set_num_threads(before);
  expect_identical(one.loss.detach(), two.loss.detach());
  for (size_t i = 0; i < 2; ++i) expect_identical(one.gradients[i], two.gradients[i]);
}

TEST(ChunkedLoss, CountsWhatIsRight) {
  const Tensor hidden_TD = at::eye(4, at::kDouble);
  const Head head = {[](const Tensor& h) { return h * 2; }, 4};
  const Tensor target_T = at::tensor({0, 1, 3, -100}, at::kLong);
  const auto found = cross_entropy(head, hidden_TD, target_T, {.count_correct = true});
  EXPECT_EQ(found.targets, 3);
  EXPECT_EQ(found.correct, 2);
  EXPECT_EQ(cross_entropy(head, hidden_TD, target_T).correct, 0);
}

TEST(ChunkedLoss, WithoutTargetsIsZeroAndStillAFunctionOfTheHiddenStates) {
  const Tensor w_VD = normal({V, D}, 12).requires_grad_(true);
  const Head head = {[&](const Tensor& h) { return at::matmul(h, w_VD.t()); }, V};
  for (const int64_t rows : {int64_t{0}, int64_t{3}}) {
    const Tensor hidden_TD = normal({rows, D}, 13).requires_grad_(true);
    const auto found = cross_entropy(head, hidden_TD, at::full({rows}, -100, at::kLong));
    EXPECT_EQ(found.targets, 0);
    EXPECT_EQ(found.sum.item<double>(), 0);
    found.sum.backward();
    ASSERT_TRUE(hidden_TD.grad().defined()) << rows;
    EXPECT_TRUE(hidden_TD.grad().eq(0).all().item<bool>());
  }
}

TEST(ChunkedLoss, NeedsNoGradientWhereNothingLearns) {
  const Tensor w_VD = normal({V, D}, 14);
  const Head head = {[&](const Tensor& h) { return at::matmul(h, w_VD.t()); }, V};
  const Tensor hidden_TD = normal({T, D}, 15);
  EXPECT_FALSE(cross_entropy(head, hidden_TD, targets_with_gaps()).sum.requires_grad());
  const at::NoGradGuard no_grad;
  const Tensor learns = w_VD.clone().requires_grad_(true);
  const Head other = {[&](const Tensor& h) { return at::matmul(h, learns.t()); }, V};
  EXPECT_FALSE(cross_entropy(other, hidden_TD, targets_with_gaps()).sum.requires_grad());
}

TEST(ChunkedLoss, RefusesWhatItCannotDo) {
  const Tensor w_VD = normal({V, D}, 16).requires_grad_(true);
  const Head head = {[&](const Tensor& h) { return at::matmul(h, w_VD.t()); }, V};
  const Tensor hidden_TD = normal({T, D}, 17);
  EXPECT_ERROR(cross_entropy(head, hidden_TD, at::full({T}, V, at::kLong)),
               "expected targets in [0, 7), got one outside");
  EXPECT_ERROR(cross_entropy(head, hidden_TD, at::zeros({T - 1}, at::kLong)),
               "Give a target for each row");
  EXPECT_ERROR(cross_entropy({head.logits, V + 1}, hidden_TD, at::zeros({T}, at::kLong)),
               "expected logits (13, 8), got [13, 7]");
  const Tensor loss = cross_entropy(head, hidden_TD, at::zeros({T}, at::kLong)).sum;
  torch::autograd::grad({loss}, {w_VD}, {}, /*retain_graph=*/true);
  EXPECT_ERROR(torch::autograd::grad({loss}, {w_VD}), "expected one backward pass");
  const Tensor again = cross_entropy(head, hidden_TD, at::zeros({T}, at::kLong)).sum;
  EXPECT_ERROR(torch::autograd::grad({again}, {w_VD}, {}, true, /*create_graph=*/true),
               "expected one backward pass");
}

TEST(ChunkedLoss, KeepsNoLogitsOfALargeVocabulary) {
  constexpr int64_t kTokens = 2048, kVocabulary = 128000, kWidth = 16;
  const Tensor hidden_TD = at::randn({kTokens, kWidth}).requires_grad_(true),
               w_VD = at::randn({kVocabulary, kWidth}).requires_grad_(true);
  const Head head = {[&](const Tensor& h) { return ops::linear(h, w_VD); }, kVocabulary};
  const Tensor target_T = at::arange(kTokens, at::kLong) * 61;
  const auto step = [&](int64_t tokens) {
    const auto loss =
        cross_entropy(head, hidden_TD.slice(0, 0, tokens), target_T.slice(0, 0, tokens));
    loss.sum.backward();
  };
  step(16);  // whatever libraries keep for themselves
  if (!forget_peak()) GTEST_SKIP() << "this system does not let a process reset its peak";
  const int64_t before = peak_memory();
  step(kTokens);
  const int64_t grown = peak_memory() - before;
  // All logits would be 1.05 GB, and their gradient as much.
  EXPECT_LT(grown, int64_t{400} << 20);
  EXPECT_GT(grown, int64_t{16} << 20) << "nothing was measured";
}

}  // namespace
}  // namespace moe::test
