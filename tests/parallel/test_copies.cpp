// Copies of experts: gradients to owners, numbers to copies. L experts on this rank.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <moe/parallel/copies.h>
#include <moe/parallel/gradients.h>
#include <moe/parallel/threads.h>

namespace moe::test::copies_test {
namespace {

using Group = std::shared_ptr<parallel::Communicator>;

/// Four experts on three ranks: 1 on all, 3 on two, rank 1 owns nothing.
std::shared_ptr<const ExpertPlacement> placement() {
  static const auto out = std::make_shared<const ExpertPlacement>(
      std::vector<std::vector<int64_t>>{{0}, {2, 0, 1}, {2}, {0, 1}}, 3);
  return out;
}

/// This rank's stack with rows of (rows...): expert number * 10 + rank.
Parameter stack_of(int64_t rank, at::ScalarType type, std::vector<int64_t> rest) {
  Parameter out{"stack", {}, {.per_expert = true, .sharded = true, .whole = 4}};
  out.info.numbers = placement()->held_by(rank);
  out.info.placement = placement();
  const auto L = static_cast<int64_t>(out.info.numbers.size());
  out.info.copies = L - placement()->own_of(rank);
  rest.insert(rest.begin(), L);
  out.tensor = at::zeros(rest, type);
  for (int64_t row = 0; row < L; ++row)
    out.tensor[row].fill_(10 * static_cast<double>(out.info.number_of(row)) +
                          static_cast<double>(rank));
  out.tensor.set_requires_grad(true);
  return out;
}

double value_in(const Parameter& stack, const at::Tensor& values, int64_t expert) {
  const auto row = row_of(stack, expert);
  EXPECT_TRUE(row.has_value());
  const at::Tensor of_row = values[*row];
  EXPECT_EQ(of_row.min().item<double>(), of_row.max().item<double>());
  return of_row.max().item<double>();
}

TEST(Copies, GiveTheirGradientsToOwnersAndKeepNone) {
  parallel::run_ranks(3, [](const Group& group) {
    const int64_t rank = group->rank();
    const Parameters parameters = {stack_of(rank, at::kDouble, {3, 2}),
                                   stack_of(rank, at::kFloat, {5}),
                                   stack_of(rank, at::kDouble, {})};
    for (const auto& [name, tensor, info] : parameters) tensor.mutable_grad() = tensor.detach() + 1;
    parallel::collect_gradients_of_copies(parameters, *group);
    for (const auto& parameter : parameters) {
      const at::Tensor gradient = parameter.tensor.grad();
      if (rank == 0) {
        EXPECT_EQ(value_in(parameter, gradient, 0), 1);
        EXPECT_EQ(value_in(parameter, gradient, 3), 31 + 32);
      }
      if (rank == 2) {
        EXPECT_EQ(value_in(parameter, gradient, 1), 11 + 12 + 13);
        EXPECT_EQ(value_in(parameter, gradient, 2), 23);
      }
      for (int64_t row = own_rows(parameter); row < gradient.size(0); ++row)
        EXPECT_EQ(gradient[row].abs().sum().item<double>(), 0);
    }
  });
}

TEST(Copies, MakeAGradientWhereTheOwnerHasNoneAndNoneWhereNobodyHasOne) {
  parallel::run_ranks(3, [](const Group& group) {
    const int64_t rank = group->rank();
    const Parameters parameters = {stack_of(rank, at::kDouble, {2}),
                                   stack_of(rank, at::kDouble, {2})};
    // Rank 1 alone, which owns nothing, has one.
    if (rank == 1) parameters[0].tensor.mutable_grad() = at::full({2, 2}, 5.0, at::kDouble);
    parallel::collect_gradients_of_copies(parameters, *group);
    EXPECT_FALSE(parameters[1].tensor.grad().defined());
    const at::Tensor gradient = parameters[0].tensor.grad();
    ASSERT_TRUE(gradient.defined());
    if (rank == 0) {
      EXPECT_EQ(value_in(parameters[0], gradient, 3), 5);
      EXPECT_EQ(value_in(parameters[0], gradient, 0), 0);
      EXPECT_EQ(value_in(parameters[0], gradient, 1), 0);  // a copy
    }
    if (rank == 2) {
      EXPECT_EQ(value_in(parameters[0], gradient, 1), 5);
      EXPECT_EQ(value_in(parameters[0], gradient, 2), 0);
    }
  });
}

TEST(Copies, GetTheNumbersOfOwners) {
  parallel::run_ranks(3, [](const Group& group) {
    const Parameters parameters = {stack_of(group->rank(), at::kFloat, {3}),
                                   stack_of(group->rank(), at::kDouble, {2, 2})};
    parallel::renew_copies(parameters, *group);
    for (const auto& parameter : parameters)
      for (int64_t row = 0; row < parameter.tensor.size(0); ++row) {
        const int64_t expert = parameter.info.number_of(row);
        EXPECT_EQ(value_in(parameter, parameter.tensor.detach(), expert),
                  static_cast<double>(10 * expert + placement()->owner_of(expert)));
      }
  });
}

TEST(ReduceGradients, CountEachExpertOnceWithCopiesAndDataRanks) {
  parallel::run_ranks(6, [](const Group& world) {
    const auto layout = parallel::Layout::of(world, 3);
    const int64_t rank = layout.experts->rank();
    const Parameters parameters = {stack_of(rank, at::kDouble, {2})};
    parameters[0].tensor.mutable_grad() = at::full_like(parameters[0].tensor.detach(), 1);
    parallel::reduce_gradients(parameters, layout);
    const at::Tensor gradient = parameters[0].tensor.grad();
    for (int64_t row = 0; row < own_rows(parameters[0]); ++row) {
      const int64_t expert = parameters[0].info.number_of(row);
      EXPECT_EQ(value_in(parameters[0], gradient, expert),
                2 * static_cast<double>(placement()->ranks_of(expert).size()));
    }
    for (int64_t row = own_rows(parameters[0]); row < gradient.size(0); ++row)
      EXPECT_EQ(gradient[row].abs().sum().item<double>(), 0);
  });
}

TEST(Runs, OfExpertsLieBehindOneAnother) {
  ParameterInfo info;
  info.numbers = {4, 5, 7, 2, 3};
  const auto runs = runs_of(info, 5);
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[1].first, 7);
  EXPECT_EQ(runs[2].row, 3);
  EXPECT_EQ(runs[2].count, 2);
  EXPECT_EQ(runs_of(info, 3).size(), 2u);
  info = {.first_expert = 6};
  ASSERT_EQ(runs_of(info, 2).size(), 1u);
  EXPECT_EQ(runs_of(info, 2)[0].first, 6);
  EXPECT_TRUE(runs_of(info, 0).empty());
}

}  // namespace
}  // namespace moe::test::copies_test
