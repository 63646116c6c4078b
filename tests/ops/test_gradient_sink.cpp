// Gradients of stacked weights that go through sinks against those of autograd. R rows, E experts,
// D width, F hidden.
#include <cmath>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/tensor.h>

#include <moe/ops/cpu/grouped.h>
#include <moe/ops/grouped.h>

#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/message_of.h"
#include "tests/support/sinks.h"

namespace moe::ops::sink_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::is_poisoned;
using moe::test::normal;
using moe::test::poison;

constexpr int64_t kE = 6, kD = 20, kF = 12;
using Rows = std::vector<int64_t>;
const Rows kRows = {3, 0, 40, 0, 1, 0}, kOthers = {0, 0, 7, 5, 2, 0}, kNone = {0, 0, 0, 0, 0, 0},
           kAll = {1, 2, 3, 1, 2, 3};

/// Gated or plain experts with sinks or without, from the same numbers.
struct Mlp {
  explicit Mlp(bool with_sinks, bool gated = true, at::ScalarType type = at::kFloat) {
    const auto leaf = [type](at::IntArrayRef sizes, uint64_t seed) {
      return normal(sizes, seed).to(type).requires_grad_(true);
    };
    p.gated = gated;
    p.activation = Activation::kSilu;
    p.w_in = leaf({kE, gated ? 2 * kF : kF, kD}, 1);
    p.b_in = leaf({kE, gated ? 2 * kF : kF}, 2);
    p.w_out = leaf({kE, kD, kF}, 3);
    if (with_sinks) p.sinks = {test::sink_of(p.w_in), test::sink_of(p.w_out)};
  }

  /// What rows of these experts become.
  Tensor forward(const Tensor& x_RD, const Rows& rows_of) const {
    std::vector<int64_t> offsets = {0};
    for (const int64_t rows : rows_of) offsets.push_back(offsets.back() + rows);
    return grouped_mlp(x_RD, {}, at::tensor(offsets, at::kLong), p);
  }

  static Tensor rows(const Rows& rows_of, uint64_t seed, at::ScalarType type = at::kFloat) {
    int64_t R = 0;
    for (const int64_t rows : rows_of) R += rows;
    return normal({R, kD}, seed).to(type);
  }

  /// One forward and backward pass; the gradient of the rows.
  Tensor run(const Rows& rows_of, uint64_t seed, at::ScalarType type = at::kFloat) const {
    const Tensor x_RD = rows(rows_of, seed, type).requires_grad_(true);
    forward(x_RD, rows_of).backward(rows(rows_of, seed + 100, type));
    return x_RD.grad();
  }

  void zero_gradients() {
    for (Tensor* parameter : {&p.w_in, &p.b_in, &p.w_out}) parameter->mutable_grad() = Tensor();
  }
  bool knows_zeros() const { return p.sinks.w_in->knows_zeros() && p.sinks.w_out->knows_zeros(); }

  MlpParameters p;
};

void expect_same(const Mlp& got, const Mlp& expected) {
  expect_identical(got.p.w_in.grad(), expected.p.w_in.grad(), "w_in");
  expect_identical(got.p.w_out.grad(), expected.p.w_out.grad(), "w_out");
  expect_identical(got.p.b_in.grad(), expected.p.b_in.grad(), "b_in");
}

struct GradientSinkTest : testing::Test {
  void SetUp() override {
    if (!cpu::takes(normal({1, 1}, 1).to(at::kFloat)))
      GTEST_SKIP() << "MOE_CPU=libtorch computes without the kernels that heed sinks";
  }
};

TEST_F(GradientSinkTest, HasTheBitsOfAutogradOverMicroBatchesAndSteps) {
  for (const bool gated : {false, true})
    for (const bool recompute : {false, true}) {
      Mlp dense(false, gated), sunk(true, gated);
      dense.p.recompute = sunk.p.recompute = recompute;
      uint64_t seed = 0;
      // Experts are live, then idle, then live again; a step may begin with no rows at all.
      for (const auto& step : std::vector<std::vector<Rows>>{{kRows, kOthers, kNone},
                                                             {kOthers},
                                                             {kNone, kRows},
                                                             {kAll, kAll},
                                                             {kNone},
                                                             {kRows}}) {
        for (const Rows& rows : step) {
          const Tensor dx_RD = dense.run(rows, ++seed);
          expect_identical(sunk.run(rows, seed), dx_RD, "rows");
          expect_same(sunk, dense);
          EXPECT_TRUE(sunk.knows_zeros());
        }
        dense.zero_gradients();
        sunk.zero_gradients();
      }
    }
}

TEST_F(GradientSinkTest, HasTheBitsOfAutogradWhereRowsAreCombined) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    Mlp dense(false), sunk(true);
    const int64_t R = 44;
    const Combination pairs = {at::arange(R), normal({R}, 5).to(at::kFloat),
                               at::arange(0, R + 1, 2)};
    for (auto* mlp : {&dense, &sunk}) {
      const Tensor y_TD =
          grouped_mlp_combined(Mlp::rows(kRows, 1, type), {},
                               at::tensor({0, 3, 3, 43, 43, 44, 44}, at::kLong), mlp->p, {}, pairs);
      y_TD.backward(normal({R / 2, kD}, 6).to(at::kFloat));
    }
    for (const auto& [got, expected] : {std::pair{sunk.p.w_in.grad(), dense.p.w_in.grad()},
                                        std::pair{sunk.p.w_out.grad(), dense.p.w_out.grad()}})
      expect_identical(got.to(type), expected.to(type));
    EXPECT_TRUE(sunk.knows_zeros());
  }
}

TEST_F(GradientSinkTest, KeepsItsMemoryFromStepToStep) {
  Mlp mlp(true);
  mlp.run(kRows, 1);
  const void* const memory = mlp.p.w_in.grad().const_data_ptr();
  mlp.zero_gradients();
  mlp.run(kOthers, 2);
  EXPECT_EQ(mlp.p.w_in.grad().const_data_ptr(), memory);
}

TEST_F(GradientSinkTest, ReadsAndWritesNothingOfIdleExperts) {
  Mlp dense(false), sunk(true);
  sunk.run({3, 0, 4, 0, 1, 0}, 1);
  sunk.zero_gradients();
  sunk.run({0, 0, 4, 5, 0, 0}, 2);  // clears what the step before left with 0 and 4
  const Tensor w_in = sunk.p.w_in.grad(), w_out = sunk.p.w_out.grad();
  for (const int64_t e : {0, 1, 5}) {
    poison(w_in, e);
    poison(w_out, e);
  }
  const auto in = w_in.mutable_data_ptr<float>();
  sunk.run({0, 0, 0, 4, 0, 0}, 3);
  EXPECT_EQ(sunk.p.w_in.grad().const_data_ptr(), in);
  for (const int64_t e : {0, 1, 5}) {
    EXPECT_TRUE(is_poisoned(w_in, e) && is_poisoned(w_out, e)) << e;
    EXPECT_TRUE(sunk.p.sinks.w_in->state_E()[e] == cpu::SumState::kZero) << e;
  }
  dense.run({0, 0, 4, 5, 0, 0}, 2);
  dense.run({0, 0, 0, 4, 0, 0}, 3);
  for (const int64_t e : {2, 3, 4}) expect_identical(w_in[e], dense.p.w_in.grad()[e]);
  // An expert that gets rows again starts from nothing, whatever stands there.
  sunk.run({0, 6, 0, 0, 0, 0}, 4);
  dense.run({0, 6, 0, 0, 0, 0}, 4);
  expect_identical(w_in[1], dense.p.w_in.grad()[1]);
  expect_identical(w_out[1], dense.p.w_out.grad()[1]);
}

TEST_F(GradientSinkTest, HoldsFloat32SumsOfProductsInBFloat16) {
  for (const bool gated : {false, true}) {
    Mlp dense(false, gated), sunk(true, gated);
    const Tensor dx_RD = dense.run({3, 0, 90, 0, 1, 8}, 1, at::kBFloat16);
    expect_identical(sunk.run({3, 0, 90, 0, 1, 8}, 1, at::kBFloat16), dx_RD, "rows");
    for (const auto& [sums, rounded] : {std::pair{sunk.p.w_in.grad(), dense.p.w_in.grad()},
                                        std::pair{sunk.p.w_out.grad(), dense.p.w_out.grad()}}) {
      EXPECT_EQ(sums.scalar_type(), at::kFloat);
      expect_identical(sums.to(at::kBFloat16).to(at::kFloat), rounded, "rounded");
      EXPECT_FALSE(at::equal(sums, rounded));
    }
    EXPECT_TRUE(sunk.knows_zeros());
  }
}

TEST_F(GradientSinkTest, AddsUpWithTermsOnTheWeights) {
  const auto term = [](const Mlp& mlp) {
    return mlp.p.w_in.square().sum() + mlp.p.w_out.sin().sum();
  };
  Mlp dense(false), sunk(true);
  for (const int order : {0, 1, 2}) {
    for (auto* mlp : {&dense, &sunk}) {
      const Tensor x_RD = Mlp::rows(kRows, 1), y_RD = mlp->forward(x_RD, kRows);
      switch (order) {
        case 0:  // in one pass
          (y_RD.square().sum() + term(*mlp)).backward();
          break;
        case 1:
          term(*mlp).backward();
          y_RD.square().sum().backward();
          break;
        case 2:
          y_RD.square().sum().backward();
          term(*mlp).backward();
          break;
      }
    }
    expect_same(sunk, dense);
    EXPECT_FALSE(sunk.knows_zeros());
    // More of the same step.
    dense.run(kOthers, 2);
    sunk.run(kOthers, 2);
    expect_same(sunk, dense);
    dense.zero_gradients();
    sunk.zero_gradients();
    // A step without the term knows its zeros again.
    dense.run(kOthers, 3);
    sunk.run(kOthers, 3);
    expect_same(sunk, dense);
    EXPECT_TRUE(sunk.knows_zeros());
    dense.zero_gradients();
    sunk.zero_gradients();
  }
}

TEST_F(GradientSinkTest, LeavesFrozenWeightsAlone) {
  Mlp mlp(true), dense(false);
  for (auto* each : {&mlp, &dense}) each->p.w_in.set_requires_grad(false);
  mlp.run(kRows, 1);
  dense.run(kRows, 1);
  EXPECT_FALSE(mlp.p.w_in.grad().defined());
  expect_identical(mlp.p.w_out.grad(), dense.p.w_out.grad());
}

TEST_F(GradientSinkTest, ServesAWeightThatLearnsAlone) {
  Mlp mlp(true), dense(false);
  for (auto* each : {&mlp, &dense}) {
    each->p.w_in.set_requires_grad(false);
    each->p.b_in.set_requires_grad(false);
    const Tensor y_RD = each->forward(Mlp::rows(kRows, 1), kRows);
    ASSERT_TRUE(y_RD.requires_grad());
    y_RD.backward(Mlp::rows(kRows, 2));
  }
  expect_identical(mlp.p.w_out.grad(), dense.p.w_out.grad());
  EXPECT_TRUE(mlp.p.sinks.w_out->knows_zeros());
}

TEST_F(GradientSinkTest, LeavesAGradientToWhoeverHoldsIt) {
  Mlp mlp(true), dense(false);
  mlp.run(kRows, 1);
  const Tensor held = mlp.p.w_in.grad(), view = mlp.p.w_out.grad()[2], copy = held.clone(),
               copy_of_view = view.clone();
  for (auto* each : {&mlp, &dense}) {
    each->zero_gradients();
    each->run(kOthers, 2);
  }
  expect_identical(held, copy);
  expect_identical(view, copy_of_view);
  expect_same(mlp, dense);
  EXPECT_TRUE(mlp.knows_zeros());
}

TEST_F(GradientSinkTest, HeedsChangesInPlace) {
  Mlp mlp(true), dense(false);
  for (auto* each : {&mlp, &dense}) {
    each->run(kRows, 1);
    for (const Tensor& w : {each->p.w_in, each->p.w_out, each->p.b_in}) Tensor(w.grad()).zero_();
    each->run(kOthers, 2);
    Tensor(each->p.w_in.grad()).add_(0.5);
    each->run(kOthers, 3);
  }
  expect_same(mlp, dense);
  EXPECT_FALSE(Tensor(mlp.p.w_in.grad()).eq(0).any().item<bool>());
  // What was changed last, and then the step ended, must not pass for zeros.
  for (auto* each : {&mlp, &dense}) {
    Tensor(each->p.w_in.grad()).fill_(7);
    each->zero_gradients();
    each->run(kOthers, 4);
  }
  expect_same(mlp, dense);
  EXPECT_TRUE(mlp.knows_zeros());
}

TEST_F(GradientSinkTest, TakesAGraphTwice) {
  Mlp mlp(true), dense(false);
  for (auto* each : {&mlp, &dense}) {
    const Tensor y_RD = each->forward(Mlp::rows(kRows, 1), kRows), dy_RD = Mlp::rows(kRows, 2);
    y_RD.backward(dy_RD, /*retain_graph=*/true);
    y_RD.backward(dy_RD);
  }
  expect_same(mlp, dense);
  EXPECT_TRUE(mlp.knows_zeros());
}

TEST_F(GradientSinkTest, IsClosedToPassesThatLeaveGradAlone) {
  Mlp mlp(true), dense(false);
  mlp.run(kOthers, 1);
  dense.run(kOthers, 1);
  const auto gradients = [](const Mlp& each, bool of_weights) {
    const Tensor x_RD = Mlp::rows(kRows, 2).requires_grad_(true);
    const std::vector<Tensor> wanted =
        of_weights ? std::vector<Tensor>{each.p.w_in, each.p.w_out} : std::vector<Tensor>{x_RD};
    return torch::autograd::grad({each.forward(x_RD, kRows)}, wanted, {Mlp::rows(kRows, 3)});
  };
  for (const bool of_weights : {true, false}) {
    const auto got = gradients(mlp, of_weights), expected = gradients(dense, of_weights);
    for (size_t i = 0; i < got.size(); ++i) expect_identical(got[i], expected[i]);
  }
  expect_same(mlp, dense);
  EXPECT_TRUE(mlp.knows_zeros());
}

TEST_F(GradientSinkTest, IsClosedToParametersWithHooks) {
  Mlp mlp(true), dense(false);
  Tensor seen;
  mlp.p.w_in.register_hook([&seen](const Tensor& gradient) { seen = gradient; });
  mlp.run(kRows, 1);
  dense.run(kRows, 1);
  expect_same(mlp, dense);
  expect_identical(seen, dense.p.w_in.grad());
}

TEST_F(GradientSinkTest, IsPassedOverWhereItCannotServe) {
  Mlp wide(true, true, at::kDouble), dense(false, true, at::kDouble);
  wide.run(kRows, 1, at::kDouble);
  dense.run(kRows, 1, at::kDouble);
  expect_same(wide, dense);
  Mlp mixed(true);
  mixed.p.sinks.w_in = test::sink_of(mixed.p.w_out);
  EXPECT_ERROR(mixed.run(kRows, 1), "expected a sink of the weight it comes with");
}

TEST_F(GradientSinkTest, GivesTheSameBitsOnAnyNumberOfThreads) {
  Mlp one(true), more(true);
  for (const Rows& rows : {kRows, kOthers, kAll}) {
    {
      const test::WithThreads threads(1);
      one.run(rows, 1);
    }
    const test::WithThreads threads(3);
    more.run(rows, 1);
  }
  expect_same(more, one);
}

}  // namespace

}  // namespace moe::ops::sink_test
