// The divergence of two passes in chunks against the plain one. T tokens, D width, V vocabulary.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <moe/layers/chunked_divergence.h>

#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/message_of.h"

namespace moe::test::chunked_divergence_test {
namespace {

using layers::Head;
using layers::symmetric_divergence;

constexpr int64_t kRows = 9, kWidthOfRows = 4, kOutputs = 6;

Head linear_head(const Tensor& w_VD) {
  return {[=](const Tensor& hidden_MD) { return at::matmul(hidden_MD, w_VD.t()).tanh() * 3; },
          w_VD.size(0)};
}

Tensor targets() {
  Tensor target_T = at::zeros({kRows}, at::kLong);
  target_T[2] = target_T[7] = -100;
  return target_T;
}

/// 1/2 (KL(p || q) + KL(q || p)) from whole probabilities.
Tensor plain(const Head& head, const Tensor& a_TD, const Tensor& b_TD) {
  const Tensor p = at::softmax(head.logits(a_TD), 1), q = at::softmax(head.logits(b_TD), 1);
  const Tensor kl_T = (p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1);
  return (kl_T * targets().ne(-100)).sum() / 2;
}

TEST(ChunkedDivergence, EqualsThePlainOneInValueAndGradientsForChunksOfAnySize) {
  const Tensor a_TD = normal({kRows, kWidthOfRows}, 1).requires_grad_(true),
               b_TD = normal({kRows, kWidthOfRows}, 2).requires_grad_(true),
               w_VD = normal({kOutputs, kWidthOfRows}, 3).requires_grad_(true);
  const Head head = linear_head(w_VD);
  const Tensor whole = plain(head, a_TD, b_TD);
  const auto expected = torch::autograd::grad({whole}, {a_TD, b_TD, w_VD});
  for (const int64_t at_once : {int64_t{1}, 2 * kOutputs, 5 * kOutputs, int64_t{1} << 20}) {
    const Tensor found =
        symmetric_divergence(head, a_TD, b_TD, targets(), {.logits_at_once = at_once});
    EXPECT_NEAR(found.item<double>(), whole.item<double>(), 1e-10);
    const auto gradients = torch::autograd::grad({found}, {a_TD, b_TD, w_VD});
    for (size_t i = 0; i < gradients.size(); ++i) expect_close(gradients[i], expected[i], 1e-10);
  }
}

TEST(ChunkedDivergence, IsZeroBetweenEqualPassesAndWithoutTargets) {
  const Tensor a_TD = normal({kRows, kWidthOfRows}, 4), w_VD = normal({kOutputs, kWidthOfRows}, 5);
  const Head head = linear_head(w_VD);
  EXPECT_EQ(symmetric_divergence(head, a_TD, a_TD, targets()).item<double>(), 0);
  const Tensor none_T = at::full({kRows}, -100, at::kLong);
  EXPECT_EQ(symmetric_divergence(head, a_TD, -a_TD, none_T).item<double>(), 0);
  EXPECT_ERROR(symmetric_divergence(head, a_TD, a_TD.slice(0, 1), targets()),
               "Run the same rows twice");
}

}  // namespace
}  // namespace moe::test::chunked_divergence_test
