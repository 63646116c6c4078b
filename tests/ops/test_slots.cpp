// Room in experts and the rounding of its size; all policies against a naive twin are in
// tests/capacity. T tokens, N pairs, E experts, G groups.
#include <cmath>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <moe/ops/rounding.h>
#include <moe/ops/slots.h>

namespace moe::ops::room_test {

namespace {

/// Four tokens of two choices in two groups, room for one pair an expert and group.
SlotRequests small() {
  return {.offsets_T1 = at::tensor({0, 2, 4, 6, 8}, at::kLong),
          .experts_N = at::tensor({0, 1, 1, 0, 2, 0, 2, 3}, at::kLong),
          .num_experts = 3,
          .groups_G1 = at::tensor({0, 2, 4}, at::kLong),
          .slots_G = at::full({2}, 1, at::kLong)};
}

std::vector<int64_t> got(const SlotRequests& requests) {
  const Tensor slot_N = assign_slots(requests);
  return {slot_N.const_data_ptr<int64_t>(), slot_N.const_data_ptr<int64_t>() + slot_N.numel()};
}

TEST(ClaimRoom, FirstChoicesComeFirstAndIdsOutsideAskForNothing) {
  EXPECT_EQ(got(small()), (std::vector<int64_t>{0, 3, 1, 3, 2, 0, 3, 3}));
  SlotRequests requests = small();
  requests.experts_N[0] = -1;
  EXPECT_EQ(got(requests), (std::vector<int64_t>{3, 3, 1, 0, 2, 0, 3, 3}));
}

TEST(ClaimRoom, TheMostUrgentTokenComesFirst) {
  SlotRequests requests = small();
  requests.priority_T = at::tensor({std::nan(""), 0.0, 1.0, 2.0}, at::kDouble);
  EXPECT_EQ(got(requests), (std::vector<int64_t>{0, 3, 1, 3, 3, 0, 2, 3}));
  requests.token_by_token = true;
  EXPECT_EQ(got(requests), (std::vector<int64_t>{3, 3, 1, 0, 3, 0, 2, 3}));
}

TEST(ClaimRoom, PairsMoveToTheBestExpertThatHasRoomAndIsNotTheirTokens) {
  SlotRequests requests = small();
  requests.scores_TE =
      at::tensor({3., 2., 1., 3., 2., 1., 3., 2., 1., 1., 2., 3.}, at::kDouble).reshape({4, 3});
  EXPECT_EQ(got(requests), (std::vector<int64_t>{0, 2, 1, 3, 2, 0, 1, 3}));
}

TEST(ClaimRoom, GroupsOfDifferentLengthsHaveEachTheirOwnRoom) {
  SlotRequests requests = small();
  requests.groups_G1 = at::tensor({0, 1, 1, 4}, at::kLong);
  requests.slots_G = at::tensor({1, 9, 2}, at::kLong);
  EXPECT_EQ(got(requests), (std::vector<int64_t>{0, 1, 1, 0, 2, 0, 2, 3}));
  requests.slots_G = at::tensor({0, 9, 1}, at::kLong);
  EXPECT_EQ(got(requests), (std::vector<int64_t>{3, 3, 1, 0, 2, 3, 3, 3}));
}

TEST(ClaimRoom, TakesNoTokenNoPairAndNoRoom) {
  SlotRequests requests = small();
  requests.slots_G = at::zeros({2}, at::kLong);
  EXPECT_EQ(got(requests), std::vector<int64_t>(8, 3));
  requests = {.offsets_T1 = at::zeros({1}, at::kLong),
              .experts_N = at::zeros({0}, at::kLong),
              .num_experts = 3,
              .groups_G1 = at::zeros({1}, at::kLong),
              .slots_G = at::zeros({0}, at::kLong)};
  EXPECT_EQ(got(requests), std::vector<int64_t>{});
  requests.groups_G1 = at::zeros({3}, at::kLong);
  requests.slots_G = at::zeros({2}, at::kLong);
  EXPECT_EQ(got(requests), std::vector<int64_t>{});
}

TEST(ClaimRoom, RefusesWhatDoesNotFitTogether) {
  SlotRequests requests = small();
  requests.groups_G1 = at::tensor({0, 4}, at::kLong);
  EXPECT_ERROR(got(requests), "a room for each of 1 groups, got 3 experts and room for 2 groups");
  for (const std::vector<int64_t>& bounds : {std::vector<int64_t>{0, 2, 3}, {1, 2, 4}, {0, 5, 4}}) {
    requests.groups_G1 = at::tensor(bounds, at::kLong);
    EXPECT_ERROR(got(requests), "groups that rise from 0 to T=4");
  }
  requests = small();
  requests.experts_N = requests.experts_N.to(at::kInt);
  EXPECT_ERROR(got(requests), "expected int64 offsets");
  requests = small();
  requests.priority_T = at::zeros({4});
  EXPECT_ERROR(got(requests), "expected urgencies (T=4) in float64");
  requests = small();
  requests.scores_TE = at::zeros({4, 2});
  EXPECT_ERROR(got(requests), "expected scores (T=4, E=3)");
}

TEST(Rounded, TakesWhatIsAlmostAnIntegerForIt) {
  const Tensor values =
      at::tensor({11.000000000000002, 10.999999999999998, 2.5, 2.4, 0.0, 1e17}, at::kDouble);
  const auto expect = [&](const char* mode, const std::vector<double>& expected) {
    EXPECT_TRUE(rounded(values, mode).equal(at::tensor(expected, at::kDouble))) << mode;
  };
  expect("ceil", {11, 11, 3, 3, 0, 1e17});
  expect("floor", {11, 11, 2, 2, 0, 1e17});
  expect("nearest", {11, 11, 2, 2, 0, 1e17});
  EXPECT_ERROR(rounded(values, "up"), "mode");
}

}  // namespace

}  // namespace moe::ops::room_test
