// Grouped products on lazy rows. S source rows, R rows, E experts, D in, F hidden, H = F or 2F, O
// out.
#include <cmath>
#include <optional>
#include <tests/ops/grouped_cases.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/instruction_sets.h>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/grouped.h>

namespace moe::ops::grouped_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::reference::Row;

TEST(GroupedMlp, EqualsTheNaiveLoops) {
  const Tensor source_SD = normal({kSources, kIn}, 6);
  for_all([&](const Mlp& mlp, const Rows& rows, const Tensor& keep_RF) {
    const Tensor expected_RO = moe::test::reference::rows(
        source_SD, rows.index_R, rows.offsets_E, kOut, [&](int64_t e, const Row& x_D, int64_t r) {
          return mlp(e, x_D, keep_RF.defined() ? moe::test::reference::row_of(keep_RF, r) : Row());
        });
    const Tensor got_RO = run(mlp, source_SD, rows, keep_RF);
    ASSERT_EQ(got_RO.sizes(), expected_RO.sizes());
    expect_close(got_RO.slice(0, 0, rows.held()), expected_RO.slice(0, 0, rows.held()), 1e-13);
  });
}

/// The same numbers in a narrower type: the result is that of the rounded inputs within a few
/// roundings of the largest intermediate value.
TEST(GroupedMlp, NarrowerTypesAreCloseToFloat64) {
  const Tensor source_SD = normal({kSources, kIn}, 6);
  for (const auto& [dtype, bound] : {std::pair{at::kFloat, 2e-6}, std::pair{at::kBFloat16, 0.06}})
    for_all(
        [&, dtype = dtype, bound = bound](const Mlp& mlp, const Rows& rows, const Tensor& keep_RF) {
          const Tensor narrow_SD = source_SD.to(dtype);
          const Tensor narrow_RF = keep_RF.defined() ? keep_RF.to(dtype) : keep_RF;
          const Tensor got_RO = run(mlp, narrow_SD, rows, narrow_RF);
          EXPECT_EQ(got_RO.scalar_type(), dtype);
          const Tensor expected_RO = run(mlp, narrow_SD.to(at::kDouble), rows, keep_RF);
          // Squares make larger values, and double how far off their arguments are.
          const double factor = mlp.act == Activation::kReluSquared ? 3 : 1;
          expect_close(got_RO.slice(0, 0, rows.held()), expected_RO.slice(0, 0, rows.held()),
                       factor * bound);
        });
}

/// In 16 bits on the CPU products run with more rows than an expert has (planned_rows): nothing of
/// the tail may show, whatever the neighbours hold.
struct RaggedRun {
  Tensor out_RO;
  std::vector<Tensor> gradients;  // of source, w_in, w_out, b_in, b_out
};

RaggedRun run_ragged(const Rows& rows, at::ScalarType dtype, bool gated, const Tensor& source_SD,
                     int64_t hidden) {
  const int64_t H = gated ? 2 * hidden : hidden;
  std::vector<Tensor> inputs = {source_SD, normal({5, H, kIn}, 1) * 0.5,
                                normal({5, kOut, hidden}, 3) * 0.5, normal({5, H}, 2),
                                normal({5, kOut}, 4)};
  for (Tensor& input : inputs) input = input.to(dtype).detach().requires_grad_(true);
  const Mlp mlp = {inputs[1], inputs[3], inputs[2], inputs[4], Activation::kSilu, gated};
  const Tensor out_RO = run(mlp, inputs[0], rows, {});
  EXPECT_TRUE(out_RO.is_contiguous());
  out_RO.backward(normal({out_RO.size(0), kOut}, 8).to(dtype));
  RaggedRun result = {out_RO.detach().to(at::kDouble), {}};
  for (const Tensor& input : inputs) result.gradients.push_back(input.grad().to(at::kDouble));
  return result;
}

std::vector<Rows> ragged_loads() {
  const Tensor offsets_E = ids({0, 37, 42, 42, 175, 194});  // 37, 5, 0, 133 and 19 rows
  return {{"index", normal({194}, 9).mul(1000).to(at::kLong).remainder(50), offsets_E},
          {"identity", {}, offsets_E}};
}

TEST(GroupedMlp, RaggedRowsInBfloat16AreCloseToFloat64) {
  for (const Rows& rows : ragged_loads())
    for (const bool gated : {false, true}) {
      SCOPED_TRACE(concat(rows.name, gated ? ", gated" : ""));
      const Tensor source_SD = normal({rows.index_R.defined() ? 50 : 194, kIn}, 6);
      const RaggedRun narrow = run_ragged(rows, at::kBFloat16, gated, source_SD, 32);
      const RaggedRun exact = run_ragged(rows, at::kDouble, gated, source_SD, 32);
      const auto close = [](const Tensor& got, const Tensor& expected) {
        const double scale = expected.abs().max().item<double>();
        expect_close(got / scale, expected / scale, 0.03);
      };
      close(narrow.out_RO, exact.out_RO);
      for (size_t i = 0; i < exact.gradients.size(); ++i) {
        SCOPED_TRACE(i);
        close(narrow.gradients[i], exact.gradients[i]);
      }
    }
}

TEST(GroupedMlp, ANanStaysInItsExpertInBfloat16) {
  const Rows rows = {"index", at::arange(194), ragged_loads()[0].offsets_E};
  for (const bool gated : {false, true}) {
    Tensor source_SD = normal({194, kIn}, 6);
    source_SD[37].fill_(std::nan(""));  // the first row of expert 1, behind the rows of expert 0
    const RaggedRun got = run_ragged(rows, at::kBFloat16, gated, source_SD, 32);
    const auto row_is_nan_N = got.out_RO.isnan().any(1);
    EXPECT_EQ(row_is_nan_N.sum().item<int64_t>(), 1);
    EXPECT_TRUE(row_is_nan_N[37].item<bool>());
    for (size_t i = 1; i < got.gradients.size(); ++i)
      for (const int64_t e : {0, 2, 3, 4})
        EXPECT_TRUE(got.gradients[i][e].isfinite().all().item<bool>()) << i << ", expert " << e;
  }
}

TEST(GroupedMlp, HasTheGradientsOfEveryInput) {
  for_all([&](Mlp mlp, const Rows& rows, const Tensor& keep_RF) {
    std::vector<Tensor> inputs = {normal({kSources, kIn}, 6), mlp.w_in, mlp.w_out};
    if (mlp.b_in.defined()) inputs.insert(inputs.end(), {mlp.b_in, mlp.b_out});
    for (Tensor& input : inputs) input = input.contiguous();
    expect_gradients(
        [&](const std::vector<Tensor>& in) {
          mlp.w_in = in[1];
          mlp.w_out = in[2];
          if (in.size() > 3) mlp.b_in = in[3], mlp.b_out = in[4];
          return run(mlp, in[0], rows, keep_RF).slice(0, 0, rows.held());
        },
        inputs);
  });
}

TEST(GroupedMlp, KernelsAndLibtorchAgreeInFloat32) {
  for (const Rows& rows : ragged_loads())
    for (const bool gated : {false, true}) {
      SCOPED_TRACE(concat(rows.name, gated ? ", gated" : ""));
      const Tensor source_SD = normal({rows.index_R.defined() ? 50 : 194, kIn}, 6);
      const RaggedRun kernels = run_ragged(rows, at::kFloat, gated, source_SD, 32);
      const moe::test::WithInstructionSet libtorch(cpu::InstructionSet::kLibtorch);
      const RaggedRun expected = run_ragged(rows, at::kFloat, gated, source_SD, 32);
      expect_close(kernels.out_RO, expected.out_RO, 1e-5);
      for (size_t i = 0; i < expected.gradients.size(); ++i)
        expect_close(kernels.gradients[i], expected.gradients[i], 1e-5);
    }
}

/// Without gradients nothing is saved, which must not change a bit.
TEST(GroupedMlp, InferenceHasTheBitsOfTraining) {
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for_all([&](const Mlp& mlp, const Rows& rows, const Tensor& keep_RF) {
      const Tensor source_SD = normal({kSources, kIn}, 6).to(dtype);
      const Tensor training_RO = run(mlp, source_SD.clone().requires_grad_(true), rows, keep_RF);
      const at::NoGradGuard no_grad;
      const Tensor got_RO = run(mlp, source_SD, rows, keep_RF);
      expect_identical(got_RO.slice(0, 0, rows.held()),
                       training_RO.detach().slice(0, 0, rows.held()));
    });
}

TEST(GroupedMatmul, EqualsTheNaiveLoops) {
  const Tensor source_SD = normal({kSources, kIn}, 6), w_EOD = normal({kExperts, kOut, kIn}, 1);
  for (const Tensor& b_EO : {normal({kExperts, kOut}, 2), Tensor()})
    for (const Rows& rows : loads())
      for (const auto& [dtype, bound] : {std::pair{at::kDouble, 1e-14}, std::pair{at::kFloat, 2e-6},
                                         std::pair{at::kBFloat16, 0.03}}) {
        SCOPED_TRACE(rows.name);
        const Tensor narrow_SD = source_SD.to(dtype);
        const Tensor expected_RO = moe::test::reference::rows(
            narrow_SD, rows.index_R, rows.offsets_E, kOut, [&](int64_t e, const Row& x_D, int64_t) {
              return moe::test::reference::affine(w_EOD, b_EO, e, x_D);
            });
        const Tensor got_RO = grouped_matmul(narrow_SD, rows.index_R, rows.offsets_E, w_EOD, b_EO);
        EXPECT_EQ(got_RO.scalar_type(), dtype);
        expect_close(got_RO.slice(0, 0, rows.held()), expected_RO.slice(0, 0, rows.held()), bound);
      }
}

TEST(GroupedMatmul, HasTheGradientsOfEveryInput) {
  for (const bool bias : {false, true})
    for (const Rows& rows : loads()) {
      SCOPED_TRACE(rows.name);
      std::vector<Tensor> inputs = {normal({kSources, kIn}, 6), normal({kExperts, kOut, kIn}, 1)};
      if (bias) inputs.push_back(normal({kExperts, kOut}, 2));
      expect_gradients(
          [&](const auto& in) {
            return grouped_matmul(in[0], rows.index_R, rows.offsets_E, in[1],
                                  bias ? in[2] : Tensor())
                .slice(0, 0, rows.held());
          },
          inputs);
    }
}

TEST(Grouped, NothingFlowsBackFromRowsOfNoExpert) {
  for (const Rows& rows : loads()) {
    if (rows.held() == rows.rows()) continue;
    for (const bool gated : {false, true}) {
      SCOPED_TRACE(rows.name);
      const Mlp mlp = Parameters(gated, true, Activation::kSilu).mlp;
      std::vector<Tensor> inputs = {normal({kSources, kIn}, 6), mlp.w_in, mlp.w_out, mlp.b_in,
                                    mlp.b_out};
      for (Tensor& input : inputs) input = input.detach().requires_grad_(true);
      const Mlp tracked = {inputs[1], inputs[3], inputs[2], inputs[4], mlp.act, gated};
      const Tensor out_RO = run(tracked, inputs[0], rows, {});
      Tensor gradient_RO = at::ones(out_RO.sizes(), at::kDouble);
      gradient_RO.slice(0, rows.held()).fill_(std::nan(""));
      out_RO.backward(gradient_RO);
      for (const Tensor& input : inputs) EXPECT_TRUE(input.grad().isfinite().all().item<bool>());
    }
  }
}

TEST(Grouped, ParametersKeepTheirTypeAndGetGradientsOfIt) {
  const Rows rows = loads()[0];
  Tensor source_SD = normal({kSources, kIn}, 6).to(at::kBFloat16).set_requires_grad(true);
  Tensor w_in = normal({kExperts, kHidden, kIn}, 1).to(at::kFloat).set_requires_grad(true);
  Tensor w_out = normal({kExperts, kOut, kHidden}, 3).to(at::kFloat).set_requires_grad(true);
  grouped_mlp(source_SD, rows.index_R, rows.offsets_E, {w_in, {}, w_out, {}, Activation::kGelu})
      .slice(0, 0, rows.held())
      .sum()
      .backward();
  EXPECT_EQ(source_SD.grad().scalar_type(), at::kBFloat16);
  EXPECT_EQ(w_in.grad().scalar_type(), at::kFloat);
  EXPECT_GT(w_in.grad().abs().sum().item<double>(), 0);
}

TEST(Grouped, TakesSourcesThatAreNotContiguous) {
  const Mlp mlp = Parameters(true, true, Activation::kSilu).mlp;
  const Tensor wide_DS = normal({kIn, kSources}, 6);
  for (const Rows& rows : loads())
    expect_identical(run(mlp, wide_DS.t(), rows, {}).slice(0, 0, rows.held()),
                     run(mlp, wide_DS.t().contiguous(), rows, {}).slice(0, 0, rows.held()));
}

TEST(Grouped, RefusesShapesThatDoNotFit) {
  const Rows rows = loads()[0];
  const Mlp mlp = Parameters(false, false, Activation::kSilu).mlp;
  EXPECT_ERROR(run(mlp, normal({kSources, kIn + 1}, 6), rows, {}), "expected source (S, D)");
  EXPECT_ERROR(grouped_mlp(normal({kSources, kIn}, 6), {}, rows.offsets_E,
                           {mlp.w_in, {}, mlp.w_out, {}, mlp.act, /*gated=*/true}),
               "w_in (E, 2F, D)");
  EXPECT_ERROR(grouped_matmul(normal({kSources, kIn}, 6), {}, ids({0, 1}), mlp.w_in, {}),
               "offsets (E+1)");
}

TEST(Activations, UnknownNameIsRefusedWithASuggestion) {
  EXPECT_ERROR(parse_activation("silo", "experts/ffn"), "Did you mean 'silu'?");
}

TEST(Activations, EqualTheirFormulas) {
  for (const auto& name : {"relu", "relu_squared", "gelu", "gelu_tanh", "silu"}) {
    const Activation act = parse_activation(name, "test");
    for (const double x : {-3.0, -0.5, 0.0, 0.25, 2.0})
      EXPECT_NEAR(activate(at::tensor({x}, at::kDouble), act).item<double>(),
                  moe::test::reference::activation(x, act), 1e-14)
          << name << ' ' << x;
  }
}

TEST(Grouped, RefusesNumbersThatItsLoopsWouldReadBeyondMemoryBy) {
  if (cpu::instruction_set() == cpu::InstructionSet::kLibtorch) GTEST_SKIP() << "no own kernels";
  const Tensor x_SD = at::ones({4, 3}), w_in = at::ones({2, 10, 3}), w_out = at::ones({2, 3, 5});
  const Tensor index = ids({0, 1, 2}), offsets = ids({0, 1, 3});
  const auto run = [&](const Tensor& i, const Tensor& o, const Tensor& b_in, const Tensor& b_out,
                       const Tensor& keep) {
    grouped_mlp(x_SD, i, o, {w_in, b_in, w_out, b_out, Activation::kSilu, /*gated=*/true}, keep);
  };
  run(index, offsets, at::ones({2, 10}), at::ones({2, 3}), at::ones({3, 5}));
  EXPECT_ERROR(run(ids({0, 1, 4}), offsets, {}, {}, {}), "expected row numbers in [0, 4)");
  EXPECT_ERROR(run(ids({0, -1, 2}), offsets, {}, {}, {}), "expected row numbers in [0, 4)");
  EXPECT_ERROR(run(index, ids({0, 1, 4}), {}, {}, {}), "rise from 0 to at most 3 rows");
  EXPECT_ERROR(run(index, ids({0, 2, 1}), {}, {}, {}), "rise from 0 to at most 3 rows");
  EXPECT_ERROR(run(index, offsets.to(at::kInt), {}, {}, {}), "expected int64 index and offsets");
  EXPECT_ERROR(run(index, offsets, at::ones({2, 5}), {}, {}), "b_in of shape [2, 10]");
  EXPECT_ERROR(run(index, offsets, {}, at::ones({2, 2}), {}), "b_out of shape [2, 3]");
  EXPECT_ERROR(run(index, offsets, {}, {}, at::ones({2, 5})), "keep of shape (3, 5)");
}

}  // namespace

}  // namespace moe::ops::grouped_test
