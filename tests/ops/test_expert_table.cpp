// Weights of experts as a table: scattered over memory, in several formats, by the kernels of every
// instruction set and by libtorch's products. E experts, D in, F hidden, H = 2F, O out, R rows.
#include <cstring>
#include <memory>
#include <tests/support/compare.h>
#include <tests/support/expert_matrices.h>
#include <tests/support/gradcheck.h>
#include <tests/support/instruction_sets.h>
#include <tests/support/message_of.h>

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/grouped.h>

namespace moe::ops::expert_table_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::ScatteredMatrices;
using moe::test::WithInstructionSet;

constexpr int64_t kE = 5, kD = 37, kF = 21, kO = 29, kR = 60;

/// The rows of experts: two without any, one with many.
Tensor offsets() {
  return at::tensor({0, 3, 3, 48, 48, 60}, at::kLong);
}

bool is_active(int64_t e) {
  return e == 0 || e == 2 || e == 4;
}

/// A stack's experts, each in memory of its own; those without rows are not there. Even experts in
/// `even`, odd ones in `odd`.
ExpertTable scattered(const Tensor& stack, NumberFormat even, NumberFormat odd) {
  const auto memory = std::make_shared<ScatteredMatrices>();
  const auto matrices = ExpertTable(stack).matrices();
  for (int64_t e = 0; e < kE; ++e)
    if (is_active(e))
      memory->add(matrices[static_cast<size_t>(e)], stack.size(1), stack.size(2),
                  e % 4 == 0 ? even : odd, e);
    else
      memory->add_none();
  return {stack.size(1), stack.size(2), memory->matrices(), memory};
}

/// What a call gives: its rows, and the gradients of the input and the biases.
struct Found {
  Tensor out_RO;
  std::vector<Tensor> gradients;
};

Found run(at::ScalarType type, const ExpertTable& w_in, const ExpertTable& w_out) {
  std::vector<Tensor> inputs = {normal({kR, kD}, 1), normal({kE, 2 * kF}, 2), normal({kE, kO}, 3)};
  for (Tensor& input : inputs) input = input.to(type).detach().requires_grad_(true);
  MlpParameters mlp{w_in, inputs[1], w_out, inputs[2], Activation::kSilu, true};
  Found found;
  found.out_RO = grouped_mlp(inputs[0], {}, offsets(), mlp);
  // The table's memory lives until the backward pass, whoever made it.
  mlp = {};
  found.out_RO.backward(normal({kR, kO}, 4).to(type));
  for (const Tensor& input : inputs) found.gradients.push_back(input.grad());
  found.out_RO = found.out_RO.detach();
  return found;
}

void expect_identical_results(const Found& got, const Found& expected) {
  expect_identical(got.out_RO, expected.out_RO);
  for (size_t i = 0; i < expected.gradients.size(); ++i)
    expect_identical(got.gradients[i], expected.gradients[i]);
}

Tensor w_in(at::ScalarType type) {
  return (normal({kE, 2 * kF, kD}, 5) * 0.2).to(type);
}
Tensor w_out(at::ScalarType type) {
  return (normal({kE, kO, kF}, 6) * 0.2).to(type);
}

TEST(ExpertTable, ScatteredWeightsHaveTheBitsOfAStack) {
  for (const auto set : cpu::available_instruction_sets()) {
    const WithInstructionSet these(set);
    SCOPED_TRACE(cpu::name_of(set));
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const auto format = type == at::kFloat ? NumberFormat::kFloat32 : NumberFormat::kBFloat16;
      expect_identical_results(
          run(type, scattered(w_in(type), format, format), scattered(w_out(type), format, format)),
          run(type, w_in(type), w_out(type)));
    }
  }
}

/// Float32 rows with bfloat16 weights: as if these had been widened before.
TEST(ExpertTable, NarrowWeightsAreReadAsTheyAreAndWidened) {
  const Tensor narrow_in = w_in(at::kBFloat16), narrow_out = w_out(at::kBFloat16);
  const auto bf16 = NumberFormat::kBFloat16;
  for (const auto set : cpu::available_instruction_sets()) {
    const WithInstructionSet these(set);
    SCOPED_TRACE(cpu::name_of(set));
    const Found expected = run(at::kFloat, narrow_in.to(at::kFloat), narrow_out.to(at::kFloat));
    expect_identical_results(run(at::kFloat, narrow_in, narrow_out), expected);
    expect_identical_results(
        run(at::kFloat, scattered(narrow_in, bf16, bf16), scattered(narrow_out, bf16, bf16)),
        expected);
  }
}

TEST(ExpertTable, FormatsMayDifferFromExpertToExpert) {
  const auto f32 = NumberFormat::kFloat32, bf16 = NumberFormat::kBFloat16;
  // Expert 2 of w_in and experts 0 and 4 of w_out are rounded.
  const auto rounded = [](const Tensor& stack, bool even) {
    Tensor out = stack.clone();
    for (int64_t e = 0; e < kE; ++e)
      if ((e % 4 == 0) == even) out.select(0, e).copy_(out.select(0, e).to(at::kBFloat16));
    return out;
  };
  const Tensor in = w_in(at::kFloat), out = w_out(at::kFloat);
  for (const auto set : cpu::available_instruction_sets()) {
    const WithInstructionSet these(set);
    SCOPED_TRACE(cpu::name_of(set));
    const auto mixed_in = scattered(in, f32, bf16), mixed_out = scattered(out, bf16, f32);
    expect_identical_results(run(at::kFloat, mixed_in, mixed_out),
                             run(at::kFloat, rounded(in, false), rounded(out, true)));
    // Rows in bfloat16: float32 weights are not rounded to it (libtorch's products do), so a
    // stack's results are met within roundings.
    const Found got = run(at::kBFloat16, mixed_in, mixed_out),
                expected = run(at::kBFloat16, in, out);
    const auto close = [](const Tensor& a, const Tensor& b) {
      const double scale = b.to(at::kDouble).abs().max().item<double>();
      expect_close(a.to(at::kDouble) / scale, b.to(at::kDouble) / scale, 0.03);
    };
    close(got.out_RO, expected.out_RO);
    for (size_t i = 0; i < expected.gradients.size(); ++i)
      close(got.gradients[i], expected.gradients[i]);
  }
}

TEST(ExpertTable, ServesGroupedMatmul) {
  const auto f32 = NumberFormat::kFloat32;
  for (const auto set : cpu::available_instruction_sets()) {
    const WithInstructionSet these(set);
    SCOPED_TRACE(cpu::name_of(set));
    std::vector<Tensor> found;
    for (const bool stack : {false, true}) {
      const Tensor x_RD = normal({kR, kD}, 1).to(at::kFloat).detach().requires_grad_(true);
      const ExpertTable w =
          stack ? ExpertTable(w_in(at::kFloat)) : scattered(w_in(at::kFloat), f32, f32);
      const Tensor out = grouped_matmul(x_RD, {}, offsets(), w, {});
      out.backward(normal(out.sizes(), 4).to(at::kFloat));
      found.insert(found.end(), {out.detach(), x_RD.grad()});
    }
    expect_identical(found[0], found[2]);
    expect_identical(found[1], found[3]);
  }
}

/// The gradient of float32 weights under bfloat16 rows is what bfloat16 weights' is before it is
/// rounded.
TEST(ExpertTable, GradientsOfFloat32WeightsAreSumsThatWereNotRounded) {
  for (const auto set : cpu::available_instruction_sets()) {
    if (set == cpu::InstructionSet::kLibtorch) continue;
    const WithInstructionSet these(set);
    SCOPED_TRACE(cpu::name_of(set));
    std::vector<Tensor> gradients;
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      std::vector<Tensor> weights = {w_in(at::kBFloat16), w_out(at::kBFloat16)};
      for (Tensor& w : weights) w = w.to(type).detach().requires_grad_(true);
      grouped_mlp(normal({kR, kD}, 1).to(at::kBFloat16), {}, offsets(),
                  {weights[0], {}, weights[1], {}, Activation::kSilu, true})
          .backward(normal({kR, kO}, 4).to(at::kBFloat16));
      for (const Tensor& w : weights) {
        EXPECT_EQ(w.grad().scalar_type(), type);
        gradients.push_back(w.grad());
      }
    }
    for (const size_t i : {0, 1}) {
      expect_identical(gradients[i].to(at::kBFloat16), gradients[i + 2]);
      EXPECT_FALSE(gradients[i].equal(gradients[i + 2].to(at::kFloat)));
      EXPECT_EQ(gradients[i][1].abs().sum().item<double>(), 0) << "an expert without rows";
    }
  }
}

TEST(ExpertTable, RefusesWhatIsNotThere) {
  const auto f32 = NumberFormat::kFloat32;
  const Tensor in = w_in(at::kFloat);
  auto matrices = ExpertTable(in).matrices();
  matrices[2].data = nullptr;
  for (const auto set : cpu::available_instruction_sets()) {
    const WithInstructionSet these(set);
    EXPECT_ERROR(run(at::kFloat, {2 * kF, kD, matrices}, w_out(at::kFloat)),
                 "expected the weights of expert 2, which has rows, got none");
  }
  EXPECT_ERROR(ExpertTable(3, 4, {}), "expected matrices with rows and columns, got 0");
  EXPECT_ERROR(ExpertTable(3, 4, {{f32, in.const_data_ptr(), 12}}), "got 12 bytes");
  EXPECT_ERROR(run(at::kFloat, in, {kO, kF - 1, ExpertTable(w_out(at::kFloat)).matrices()}),
               "expected source (S, D)");
}

}  // namespace

}  // namespace moe::ops::expert_table_test
