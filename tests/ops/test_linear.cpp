// ops::linear against libtorch's. I inputs, O outputs.
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/linear.h>

namespace moe::ops::linear_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::WithThreads;

const std::vector<std::vector<int64_t>> kShapes = {{7, 5}, {2, 3, 5}, {1, 5},
                                                   {5},    {0, 5},    {2, 0, 5}};

TEST(Linear, EqualsLibtorchForwardAndGradient) {
  for (const auto& [type, bound] :
       {std::pair{at::kDouble, 1e-14}, std::pair{at::kFloat, 2e-6}, std::pair{at::kBFloat16, 0.03}})
    for (const bool bias : {false, true})
      for (const auto& sizes : kShapes) {
        std::vector<std::vector<Tensor>> found;
        for (const bool ours : {true, false}) {
          std::vector<Tensor> in = {normal(sizes, 1), normal({4, 5}, 2)};
          if (bias) in.push_back(normal({4}, 3));
          for (Tensor& tensor : in) tensor = tensor.to(type).detach().requires_grad_(true);
          const Tensor b_O = bias ? in[2] : Tensor();
          const Tensor y = ours ? ops::linear(in[0], in[1], b_O) : at::linear(in[0], in[1], b_O);
          y.backward(normal(y.sizes(), 4).to(type));
          found.push_back({y.detach()});
          for (const Tensor& tensor : in) found.back().push_back(tensor.grad());
        }
        for (size_t i = 0; i < found[0].size(); ++i) {
          ASSERT_EQ(found[0][i].sizes(), found[1][i].sizes());
          EXPECT_EQ(found[0][i].scalar_type(), found[1][i].scalar_type());
          expect_close(found[0][i].to(at::kDouble), found[1][i].to(at::kDouble), bound);
        }
      }
}

TEST(Linear, HasTheGradientsOfEveryInput) {
  expect_gradients([](const auto& in) { return ops::linear(in[0], in[1], in[2]); },
                   {normal({3, 2, 5}, 1), normal({4, 5}, 2), normal({4}, 3)});
}

TEST(Linear, ThreadsAndOtherRowsChangeNoBit) {
  for (const auto& [type, products] : {std::pair{at::kFloat, cpu::ProductType::kFloat32},
                                       std::pair{at::kBFloat16, cpu::ProductType::kBFloat16}}) {
    // Whose bits those of libtorch's products are is not ours to say.
    if (cpu::instruction_set(products) == cpu::InstructionSet::kLibtorch) continue;
    const Tensor x_RI = normal({700, 130}, 1).to(type), w_OI = normal({90, 130}, 2).to(type);
    const Tensor expected_RO = [&] {
      const WithThreads one(1);
      return ops::linear(x_RI, w_OI);
    }();
    for (const int threads : {2, 3, 4}) {
      const WithThreads these(threads);
      expect_identical(ops::linear(x_RI, w_OI), expected_RO);
      expect_identical(ops::linear(x_RI.slice(0, 41, 44), w_OI), expected_RO.slice(0, 41, 44));
    }
  }
}

TEST(Linear, RefusesShapesThatDoNotFit) {
  EXPECT_ERROR(ops::linear(normal({3, 4}, 1), normal({4, 5}, 2)), "expected x (..., I), w (O, I)");
  EXPECT_ERROR(ops::linear(normal({3, 5}, 1), normal({4, 5}, 2), normal({5}, 3)), "and b (O)");
}

}  // namespace

}  // namespace moe::ops::linear_test
