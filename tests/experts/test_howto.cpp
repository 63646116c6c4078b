// The expert of docs/howto/add_an_expert.md. E experts, R rows, D width, F hidden, O output width.
#include <tests/support/compare.h>
#include <tests/support/howto.h>
#include <tests/support/modules.h>

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <moe/experts/experts.h>

namespace moe::experts::expert_kinds_table {
ExpertsRegistry::Entry make_bilinear();
}  // namespace moe::experts::expert_kinds_table

namespace moe::experts::howto_test {

namespace {

using moe::test::expect_close;
using moe::test::normal;

const bool kRegistered =
    moe::test::register_howto(expert_kinds(), "bilinear", expert_kinds_table::make_bilinear());

TEST(HowTo, TheExpertOfThePageIsItsFormula) {
  ASSERT_TRUE(kRegistered);
  Table settings;
  settings.set("bias", true);
  const auto experts =
      expert_kinds().at("bilinear").make({.d_model = 5, .d_ff = 3, .num_experts = 2}, settings);
  moe::test::randomise(*experts, 1);
  const auto p = experts->named_parameters();
  const Tensor x_RD = normal({4, 5}, 2);
  const int64_t expert_of[] = {0, 0, 0, 1};
  std::vector<Tensor> expected;
  for (int64_t r = 0; r < 4; ++r) {
    const int64_t e = expert_of[r];
    const Tensor inner_H = p["w_in"][e].mv(x_RD[r]) + p["b_in"][e];
    expected.push_back(p["w_out"][e].mv(inner_H.slice(0, 0, 3) * inner_H.slice(0, 3)) +
                       p["b_out"][e]);
  }
  const ExpertRows rows = {x_RD, {}, at::tensor({0, 3, 4}, at::kLong), {}};
  expect_close(experts->forward(rows, {}), at::stack(expected), 1e-13);
}

}  // namespace

}  // namespace moe::experts::howto_test
