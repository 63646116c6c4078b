// grouped_mlp_combined against its two parts. R rows, T tokens, N pairs.
#include <cmath>
#include <tests/ops/grouped_cases.h>
#include <tests/support/compare.h>
#include <tests/support/instruction_sets.h>
#include <tests/support/message_of.h>

#include <moe/ops/cpu/instruction_set.h>

namespace moe::ops::grouped_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;

/// Every row of an expert belongs to a pair, in an order that is not the rows'; tokens have up to
/// three pairs, one of which in four is dropped.
Combination combination_for(const Rows& rows, at::ScalarType type, bool weighted) {
  const int64_t held = rows.held();
  std::vector<int64_t> position_N, offsets_T1 = {0};
  for (int64_t i = 0; i < held; ++i) {
    position_N.push_back((2 * held + 1 - i) % held);
    if (i % 4 == 1) position_N.push_back(-1);
    if (i % 3 != 1) offsets_T1.push_back(static_cast<int64_t>(position_N.size()));
    if (i % 5 == 0) offsets_T1.push_back(offsets_T1.back());  // a token without pairs
  }
  offsets_T1.push_back(static_cast<int64_t>(position_N.size()));
  const auto N = static_cast<int64_t>(position_N.size());
  return {ids(position_N), weighted ? normal({N}, 7).to(type) : Tensor(), ids(offsets_T1)};
}

Tensor combined(const Mlp& mlp, const Tensor& source_SD, const Rows& rows, const Tensor& keep_RF,
                const Combination& pairs, bool recompute = false) {
  return grouped_mlp_combined(source_SD, rows.index_R, rows.offsets_E,
                              parameters_of(mlp, recompute), keep_RF, pairs);
}

/// y and the gradients of source, w_in, w_out, the biases and the weights.
struct CombinedResult {
  Tensor y_TO;
  std::vector<Tensor> gradients;
};

CombinedResult run_combined(const Mlp& mlp, const Rows& rows, const Tensor& keep_RF, bool weighted,
                            at::ScalarType type, bool recompute = false, int passes = 1) {
  const auto sums = type == at::kDouble ? at::kDouble : at::kFloat;
  Combination pairs = combination_for(rows, sums, weighted);
  std::vector<Tensor> inputs = {normal({kSources, kIn}, 6), mlp.w_in, mlp.w_out};
  if (mlp.b_in.defined()) inputs.insert(inputs.end(), {mlp.b_in, mlp.b_out});
  for (Tensor& input : inputs) input = input.detach().to(type, false, true).requires_grad_(true);
  if (weighted) inputs.push_back(pairs.weights_N.requires_grad_(true));
  const bool bias = mlp.b_in.defined();
  const Mlp tracked = {inputs[1], bias ? inputs[3] : Tensor(),
                       inputs[2], bias ? inputs[4] : Tensor(),
                       mlp.act,   mlp.gated};
  const Tensor y_TO = combined(tracked, inputs[0], rows, keep_RF, pairs, recompute);
  EXPECT_EQ(y_TO.scalar_type(), sums);
  const Tensor dy_TO = normal(y_TO.sizes(), 9).to(sums);
  CombinedResult found = {y_TO.detach(), {}};
  for (int pass = 0; pass < passes; ++pass) {
    for (Tensor& input : inputs) input.mutable_grad().reset();
    y_TO.backward(dy_TO, /*retain_graph=*/true);
    found.gradients.clear();
    for (const Tensor& input : inputs) found.gradients.push_back(input.grad().clone());
  }
  return found;
}

TEST(GroupedMlpCombined, HasTheBitsOfItsParts) {
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16})
    for (const bool weighted : {false, true})
      for_all([&](const Mlp& mlp, const Rows& rows, const Tensor& keep_RF) {
        const auto sums = type == at::kDouble ? at::kDouble : at::kFloat;
        const Combination pairs = combination_for(rows, sums, weighted);
        const Tensor source_SD = normal({kSources, kIn}, 6).to(type);
        const Tensor expected_TO = combine_rows(run(mlp, source_SD, rows, keep_RF), pairs);
        expect_identical(combined(mlp, source_SD, rows, keep_RF, pairs), expected_TO);
        expect_identical(run_combined(mlp, rows, keep_RF, weighted, type).y_TO, expected_TO);
      });
}

TEST(GroupedMlpCombined, HasTheGradientsOfEveryInput) {
  for_all([&](Mlp mlp, const Rows& rows, const Tensor& keep_RF) {
    Combination pairs = combination_for(rows, at::kDouble, true);
    std::vector<Tensor> inputs = {normal({kSources, kIn}, 6).contiguous(), mlp.w_in.contiguous(),
                                  mlp.w_out.contiguous(), pairs.weights_N.clone()};
    expect_gradients(
        [&](const std::vector<Tensor>& in) {
          mlp.w_in = in[1];
          mlp.w_out = in[2];
          pairs.weights_N = in[3];
          return combined(mlp, in[0], rows, keep_RF, pairs);
        },
        inputs);
  });
}

TEST(GroupedMlpCombined, KernelsAndLibtorchAgree) {
  if (cpu::instruction_set() == cpu::InstructionSet::kLibtorch) GTEST_SKIP() << "no own kernels";
  for (const auto& [type, bound] : {std::pair{at::kFloat, 1e-5}, std::pair{at::kBFloat16, 0.04}})
    for (const bool weighted : {false, true})
      for_all(
          [&, type = type, bound = bound](const Mlp& mlp, const Rows& rows, const Tensor& keep_RF) {
            const CombinedResult kernels = run_combined(mlp, rows, keep_RF, weighted, type);
            const moe::test::WithInstructionSet libtorch(cpu::InstructionSet::kLibtorch);
            const CombinedResult expected = run_combined(mlp, rows, keep_RF, weighted, type);
            ASSERT_EQ(kernels.gradients.size(), expected.gradients.size());
            for (size_t i = 0; i < expected.gradients.size(); ++i) {
              SCOPED_TRACE(i);
              const Tensor &got = kernels.gradients[i], &want = expected.gradients[i];
              EXPECT_EQ(got.scalar_type(), want.scalar_type());
              const double scale =
                  want.numel() > 0 ? std::max(1.0, want.abs().max().item<double>()) : 1;
              expect_close(got.to(at::kDouble) / scale, want.to(at::kDouble) / scale, bound);
            }
          });
}

TEST(GroupedMlpCombined, RecomputingOrGoingBackAgainChangesNoBit) {
  for (const auto type : {at::kFloat, at::kBFloat16})
    for_all([&](const Mlp& mlp, const Rows& rows, const Tensor& keep_RF) {
      const CombinedResult expected = run_combined(mlp, rows, keep_RF, true, type);
      const CombinedResult recomputed = run_combined(mlp, rows, keep_RF, true, type, true);
      const CombinedResult again =
          run_combined(mlp, rows, keep_RF, true, type, false, /*passes=*/2);
      for (size_t i = 0; i < expected.gradients.size(); ++i) {
        expect_identical(recomputed.gradients[i], expected.gradients[i]);
        expect_identical(again.gradients[i], expected.gradients[i]);
      }
    });
}

/// Weights in float64 beside rows in float32 come back in float64.
TEST(GroupedMlpCombined, WeightsKeepTheirType) {
  const Rows rows = loads()[0];
  const Mlp mlp = Parameters(true, true, Activation::kSilu).mlp;
  Combination pairs = combination_for(rows, at::kDouble, true);
  pairs.weights_N.requires_grad_(true);
  combined(mlp, normal({kSources, kIn}, 6).to(at::kFloat), rows, {}, pairs).sum().backward();
  EXPECT_EQ(pairs.weights_N.grad().scalar_type(), at::kDouble);
  EXPECT_GT(pairs.weights_N.grad().abs().sum().item<double>(), 0);
  const Tensor dropped_N = pairs.position_N.lt(0);
  EXPECT_EQ(pairs.weights_N.grad().masked_select(dropped_N).abs().sum().item<double>(), 0);
}

TEST(GroupedMlpCombined, ANanStaysWithItsTokenAndExpert) {
  const Rows rows = {"identity", {}, ids({0, 2, 2, 5, 6})};
  const Mlp mlp = Parameters(true, false, Activation::kSilu).mlp;
  // A token a row, so that row 3, of expert 2, is token 3.
  const Combination pairs = {ids({0, 1, 2, 3, 4, 5}), normal({6}, 7).to(at::kFloat),
                             ids({0, 1, 2, 3, 4, 5, 6})};
  Tensor source_SD = normal({kSources, kIn}, 6).to(at::kFloat);
  source_SD[3].fill_(std::nan(""));
  source_SD.requires_grad_(true);
  const Tensor w_in = mlp.w_in.to(at::kFloat).detach().requires_grad_(true);
  const Tensor weights_N = pairs.weights_N.detach().requires_grad_(true);
  const Tensor y_TO = combined({w_in, {}, mlp.w_out.to(at::kFloat), {}, mlp.act, true}, source_SD,
                               rows, {}, {pairs.position_N, weights_N, pairs.offsets_T1});
  y_TO.sum().backward();
  for (int64_t t = 0; t < 6; ++t) {
    EXPECT_EQ(y_TO[t].isnan().any().item<bool>(), t == 3) << t;
    EXPECT_EQ(weights_N.grad()[t].isnan().item<bool>(), t == 3) << t;
  }
  for (int64_t e = 0; e < kExperts; ++e)
    EXPECT_EQ(w_in.grad()[e].isnan().any().item<bool>(), e == 2) << e;
}

TEST(GroupedMlpCombined, RefusesPositionsThatAreNotEachRowOnce) {
  if (cpu::instruction_set() == cpu::InstructionSet::kLibtorch) GTEST_SKIP() << "no own kernels";
  const Rows rows = {"identity", {}, ids({0, 2, 2, 5, 5})};
  const Mlp mlp = Parameters(false, false, Activation::kSilu).mlp;
  const Tensor source_SD = normal({kSources, kIn}, 6).to(at::kFloat);
  const auto with = [&](const std::vector<int64_t>& position_N,
                        const std::vector<int64_t>& offsets_T1, int64_t weights) {
    return combined(mlp, source_SD, rows, {},
                    {ids(position_N), normal({weights}, 7), ids(offsets_T1)});
  };
  EXPECT_EQ(with({0, 1, 2, 4, 3}, {0, 5}, 5).size(0), 1);
  EXPECT_ERROR(with({0, 1, 2, 4, 5}, {0, 5}, 5), "expected a row in [0, 5) of its own");
  EXPECT_ERROR(with({0, 1, 2, 4, 4}, {0, 5}, 5), "got 4 for pair 4");
  EXPECT_ERROR(with({0, 1, 2, 4, -1}, {0, 5}, 5), "a pair for each of the 5 rows");
  EXPECT_ERROR(with({0, 1, 2, 4, 3}, {0, 6}, 5), "offsets that rise from 0 to 5 pairs");
  EXPECT_ERROR(with({0, 1, 2, 4, 3}, {0, 3, 2, 5}, 5), "offsets that rise from 0 to 5 pairs");
  EXPECT_ERROR(with({0, 1, 2, 4, 3}, {0, 5}, 4), "expected weights of shape [5]");
}

}  // namespace

}  // namespace moe::ops::grouped_test
