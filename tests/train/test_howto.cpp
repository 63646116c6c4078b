// The optimizer of docs/howto/add_an_optimizer.md.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/train/optimizer.h>

#include "tests/support/howto.h"
#include "tests/train/parameters.h"

namespace moe::train::optimizers_table {
OptimizerRegistry::Entry make_descent();
}  // namespace moe::train::optimizers_table

namespace moe::test {
namespace {

const bool kRegistered =
    register_howto(train::optimizers(), "descent", train::optimizers_table::make_descent());

TEST(HowTo, TheOptimizerOfThePageIsItsFormula) {
  ASSERT_TRUE(kRegistered);
  const Parameters parameters = {learning("matrix", {3, 4}, kMatrixInfo)};
  const auto optimizer =
      train::make_optimizer(parameters, {.rule = {.kind = "descent"}, .weight_decay = 0.1});
  at::Tensor p = parameters[0].tensor.detach().clone(), m = at::zeros_like(p);
  for (int64_t step = 0; step < 3; ++step) {
    const at::Tensor g = at::randn_like(p);
    parameters[0].tensor.mutable_grad() = g.clone();
    optimizer->step(0.2, step);
    m = 0.9 * m + g;
    p = p - 0.2 * (m + 0.1 * p);
    EXPECT_LT((parameters[0].tensor.detach() - p).abs().max().item<double>(), 1e-12);
  }
}

}  // namespace
}  // namespace moe::test
