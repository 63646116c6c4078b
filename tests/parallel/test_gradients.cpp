// Exchanges that gradients flow through, and the sum of replicated gradients. R rows, D width, W
// ranks.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <moe/parallel/collectives.h>
#include <moe/parallel/gradients.h>
#include <moe/parallel/threads.h>

namespace {

using at::Tensor;
using moe::Parameters;
using moe::parallel::all_to_all_rows;
using moe::parallel::Communicator;
using moe::parallel::reduce_gradients;
using moe::parallel::run_ranks;

TEST(AllToAllRows, GradientGoesBackTheWayTheRowsCame) {
  // Rank 0 sends 2 rows to rank 1 and one to itself, rank 1 nothing, rank 2 one to rank 0.
  const std::vector<std::vector<int64_t>> send = {{1, 2, 0}, {0, 0, 0}, {1, 0, 0}};
  const std::vector<std::vector<int64_t>> receive = {{1, 0, 1}, {2, 0, 0}, {0, 0, 0}};
  const std::vector<std::vector<double>> expected = {{100, 200, 201}, {}, {101}};
  run_ranks(3, [&](const std::shared_ptr<Communicator>& group) {
    const auto rank = static_cast<size_t>(group->rank());
    const auto rows = static_cast<int64_t>(expected[rank].size());
    const Tensor x_RD = at::ones({rows, 2}, at::kDouble).set_requires_grad(true);
    const Tensor y_RD = all_to_all_rows(x_RD, send[rank], receive[rank], group);
    ASSERT_TRUE(y_RD.requires_grad());
    // Every received row has its own coefficient: 100, 101 on rank 0; 200, 201 on rank 1.
    const Tensor coefficient_R =
        at::arange(y_RD.size(0), at::kDouble).add_(100 * (group->rank() + 1)).unsqueeze(1);
    (y_RD * coefficient_R).sum().backward();
    ASSERT_TRUE(x_RD.grad().defined());
    for (int64_t r = 0; r < rows; ++r)
      EXPECT_EQ(x_RD.grad()[r][1].item<double>(), expected[rank][r]);
  });
}

TEST(AllToAllRows, TakesExpandedGradientsAndRowsWithoutGradient) {
  run_ranks(2, [](const std::shared_ptr<Communicator>& group) {
    const Tensor x_RD = at::full({2, 3}, group->rank() + 1.0, at::kDouble).set_requires_grad(true);
    all_to_all_rows(x_RD.t().contiguous().t(), {1, 1}, {1, 1}, group).sum().backward();
    EXPECT_TRUE(x_RD.grad().eq(1).all().item<bool>());
    const Tensor ids_R = all_to_all_rows(at::arange(2, at::kLong), {1, 1}, {1, 1}, group);
    EXPECT_FALSE(ids_R.requires_grad());
    EXPECT_TRUE(ids_R.eq(group->rank()).all().item<bool>());
  });
}

TEST(AllToAllRows, IsDifferentiableTwice) {
  run_ranks(2, [](const std::shared_ptr<Communicator>& group) {
    const Tensor x_RD = at::full({2, 1}, group->rank() + 2.0, at::kDouble).set_requires_grad(true);
    const Tensor y_RD = all_to_all_rows(x_RD, {1, 1}, {1, 1}, group);
    const Tensor first =
        torch::autograd::grad({y_RD.pow(3).sum()}, {x_RD}, {}, /*retain_graph=*/true,
                              /*create_graph=*/true)[0];
    const Tensor second = torch::autograd::grad({first.sum()}, {x_RD})[0];
    EXPECT_TRUE(first.detach().equal(3 * x_RD.detach().pow(2)));
    EXPECT_TRUE(second.equal(6 * x_RD.detach()));
  });
}

Tensor parameter_of(at::IntArrayRef sizes, at::ScalarType dtype = at::kFloat) {
  return at::zeros(sizes, dtype).set_requires_grad(true);
}

TEST(ReduceGradients, AddsReplicatedOnesAndLeavesExpertsAlone) {
  run_ranks(3, [](const std::shared_ptr<Communicator>& group) {
    const double mine = group->rank() + 1;
    const Parameters parameters = {{"embed.weight", parameter_of({2, 3}), {}},
                                   {"stack", parameter_of({4, 2}), {.sharded = true}},
                                   {"one", parameter_of({2, 2}), {.expert = group->rank()}},
                                   {"experts.w_in", parameter_of({4, 2}), {.per_expert = true}},
                                   {"head.weight", parameter_of({3, 2}, at::kDouble), {}},
                                   {"norm.weight", parameter_of({5}), {}},
                                   {"scale", parameter_of({}), {}}};
    for (const auto& [name, parameter, info] : parameters)
      parameter.mutable_grad() = at::full_like(parameter, mine).set_requires_grad(false);
    reduce_gradients(parameters, group);
    for (const auto& [name, parameter, info] : parameters) {
      const double expected = name == "stack" || name == "one" ? mine : 6;
      EXPECT_TRUE(parameter.grad().eq(expected).all().item<bool>()) << name << parameter.grad();
      EXPECT_EQ(parameter.grad().sizes(), parameter.sizes());
      EXPECT_EQ(parameter.grad().scalar_type(), parameter.scalar_type());
      EXPECT_FALSE(parameter.grad().requires_grad());
    }
  });
}

TEST(ReduceGradients, CountsUndefinedAsZerosAndKeepsWhatIsUndefinedEverywhere) {
  run_ranks(3, [](const std::shared_ptr<Communicator>& group) {
    const Parameters parameters = {{"everywhere_undefined", parameter_of({2}), {}},
                                   {"on_rank_1", parameter_of({2}), {}},
                                   {"frozen", at::zeros({2}), {}}};
    if (group->rank() == 1) parameters[1].tensor.mutable_grad() = at::full({2}, 7.0);
    reduce_gradients(parameters, group);
    EXPECT_FALSE(parameters[0].tensor.grad().defined());
    ASSERT_TRUE(parameters[1].tensor.grad().defined());
    EXPECT_TRUE(parameters[1].tensor.grad().eq(7).all().item<bool>());
    EXPECT_FALSE(parameters[2].tensor.grad().defined());
  });
}

TEST(ReduceGradients, CountsTiedWeightsOnce) {
  run_ranks(2, [](const std::shared_ptr<Communicator>& group) {
    const Tensor tied = parameter_of({2});
    tied.mutable_grad() = at::ones({2});
    const Parameters parameters = {
        {"embed", tied, {}}, {"other", parameter_of({2}, at::kDouble), {}}, {"head", tied, {}}};
    reduce_gradients(parameters, group);
    EXPECT_TRUE(tied.grad().eq(2).all().item<bool>());
  });
}

TEST(ReduceGradients, FillsSeveralBuckets) {
  run_ranks(2, [](const std::shared_ptr<Communicator>& group) {
    Parameters parameters;
    for (int i = 0; i < 3; ++i) {  // 3 x 9 MB: more than one bucket
      parameters.push_back({std::to_string(i), parameter_of({9, 256, 1024}), {}});
      parameters.back().tensor.mutable_grad() = at::full({9, 256, 1024}, i + group->rank());
    }
    reduce_gradients(parameters, group);
    for (int i = 0; i < 3; ++i)
      EXPECT_TRUE(parameters[i].tensor.grad().eq(2 * i + 1).all().item<bool>());
  });
}

TEST(ReduceGradients, KeepsWhatOneRankHas) {
  const Tensor parameter = parameter_of({2});
  parameter.mutable_grad() = at::ones({2});
  reduce_gradients({{"a", parameter, {}}, {"b", parameter_of({1}), {}}}, moe::parallel::local());
  EXPECT_TRUE(parameter.grad().eq(1).all().item<bool>());
}

}  // namespace
