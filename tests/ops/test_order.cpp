// Sorting and selection. N ids, E bins, T tokens, K choices.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/instruction_sets.h>
#include <tests/support/message_of.h>
#include <vector>

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/order.h>

namespace moe::ops::order_test {

namespace {

using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::spread;
using moe::test::WithInstructionSet;
using moe::test::WithThreads;
using Ids = std::vector<int64_t>;

Ids numbers(const Tensor& values) {
  const Tensor here = values.contiguous();
  return {here.const_data_ptr<int64_t>(), here.const_data_ptr<int64_t>() + here.numel()};
}

/// Order by std::stable_sort: elements outside [0, bins) come last.
void expect_sorted(const Ids& ids, int64_t bins) {
  const Order got = counting_sort(at::tensor(ids, at::kLong), bins);
  const auto bin = [&](int64_t n) {
    return ids[n] >= 0 && ids[n] < bins ? ids[n] : std::numeric_limits<int64_t>::max();
  };
  Ids order(ids.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return bin(a) < bin(b); });
  EXPECT_EQ(numbers(got.order_N), order);

  Ids offsets = {0};
  for (int64_t e = 0; e < bins; ++e)
    offsets.push_back(offsets.back() + std::count(ids.begin(), ids.end(), e));
  EXPECT_EQ(numbers(got.offsets_E), offsets);
  for (size_t place = 0; place < order.size(); ++place) {
    const auto n = static_cast<size_t>(order[place]);
    EXPECT_EQ(numbers(got.position_N)[n],
              bin(order[place]) < bins ? static_cast<int64_t>(place) : -1);
  }
}

TEST(CountingSort, IsTheStableSort) {
  expect_sorted({2, 0, 1, 2, 2, 0, 1}, 3);
  expect_sorted({3, 3, 3, 3}, 5);
  expect_sorted({}, 4);
  expect_sorted({0}, 1);
  Ids many;
  for (int64_t n = 0; n < 500; ++n) many.push_back(n * n % 17);
  expect_sorted(many, 17);
}

TEST(CountingSort, PutsIdsOutsideTheBinsLast) {
  expect_sorted({4, -1, 0, 2, 9, 1, 2}, 3);
  expect_sorted({7, 8, -3}, 2);
}

TEST(CountingSort, SaysWhichGroupEachElementIsOf) {
  // Three groups: of two elements, none and four.
  const Tensor ids_N = at::tensor({2, 0, 1, 5, 2, 0}, at::kLong);
  const Tensor offsets_T1 = at::tensor({0, 2, 2, 6}, at::kLong);
  const auto [order, group_N] = counting_sort_groups(ids_N, offsets_T1, 3);
  const Order alone = counting_sort(ids_N, 3);
  expect_identical(order.order_N, alone.order_N);
  expect_identical(order.position_N, alone.position_N);
  expect_identical(order.offsets_E, alone.offsets_E);
  EXPECT_EQ(numbers(group_N), (Ids{0, 2, 2, 0, 2, 2}));
  EXPECT_EQ(
      counting_sort_groups(at::zeros({0}, at::kLong), at::zeros({1}, at::kLong), 3).second.numel(),
      0);
  EXPECT_ERROR(counting_sort_groups(ids_N, at::tensor({0, 4, 2, 6}, at::kLong), 3),
               "offsets that rise from 0 to 6");
  EXPECT_ERROR(counting_sort_groups(ids_N, at::tensor({0, 7}, at::kLong), 3),
               "offsets that rise from 0 to 6");
}

TEST(CountIds, CountsThoseInside) {
  EXPECT_EQ(numbers(count_ids(at::tensor({4, -1, 0, 2, 9, 1, 2}, at::kLong), 4)),
            (Ids{1, 1, 2, 0}));
  EXPECT_EQ(numbers(count_ids(at::zeros({0}, at::kLong), 2)), (Ids{0, 0}));
  EXPECT_ERROR(count_ids(at::zeros({2}, at::kFloat), 2), "int64 ids of shape (N)");
}

TEST(CountingSort, RefusesOtherThanAListOfInt64) {
  EXPECT_ERROR(counting_sort(at::zeros({2, 2}, at::kLong), 3), "int64 ids of shape (N)");
  EXPECT_ERROR(counting_sort(at::zeros({2}, at::kFloat), 3), "got Float");
}

/// Columns by a stable sort of each row; NaN below everything.
Ids best_columns(const Tensor& scores_TE, int64_t t, int64_t k) {
  Ids columns(static_cast<size_t>(scores_TE.size(1)));
  std::iota(columns.begin(), columns.end(), 0);
  std::stable_sort(columns.begin(), columns.end(), [&](int64_t a, int64_t b) {
    const double x = scores_TE[t][a].item<double>(), y = scores_TE[t][b].item<double>();
    if (std::isnan(y)) return !std::isnan(x);
    return x > y;
  });
  columns.resize(static_cast<size_t>(k));
  return columns;
}

void expect_topk(const Tensor& scores_TE, int64_t k) {
  const auto [values_TK, columns_TK] = ops::topk(scores_TE, k);
  ASSERT_EQ(columns_TK.sizes(), (std::vector<int64_t>{scores_TE.size(0), k}));
  EXPECT_EQ(values_TK.scalar_type(), scores_TE.scalar_type());
  for (int64_t t = 0; t < scores_TE.size(0); ++t) {
    const Ids expected = best_columns(scores_TE, t, k);
    EXPECT_EQ(numbers(columns_TK[t]), expected) << "row " << t;
    for (int64_t j = 0; j < k; ++j) {
      const double value = values_TK[t][j].item<double>();
      const double chosen = scores_TE[t][expected[static_cast<size_t>(j)]].item<double>();
      EXPECT_TRUE(value == chosen || (std::isnan(value) && std::isnan(chosen)));
    }
  }
}

TEST(TopK, IsTheHeadOfAStableSort) {
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf})
    for (const int64_t k : {1, 3, 8}) expect_topk(normal({9, 8}, 1).to(dtype), k);
}

TEST(TopK, TiesGoToTheLowestColumn) {
  expect_topk(at::zeros({3, 6}), 4);
  expect_topk((normal({20, 9}, 2) * 1.5).round(), 5);
}

TEST(TopK, NanRanksBelowEverything) {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  const Tensor scores_TE =
      at::tensor({nan, -inf, 1.0, nan, inf, nan, nan, nan, nan, nan, 0.0, nan, -1.0, -inf, nan},
                 at::kDouble)
          .view({3, 5});
  for (const int64_t k : {1, 3, 5}) expect_topk(scores_TE, k);
}

TEST(TopK, IsTheSameOnEveryInstructionSet) {
  const float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
  for (const int64_t E : {1, 2, 7, 15, 16, 17, 33, 64, 1000, 4096}) {
    // Some of the rows of a few values only, so that there are ties; some with what is no number.
    Tensor scores_TE = normal({24, E}, static_cast<uint64_t>(E)).to(at::kFloat).contiguous();
    scores_TE.slice(0, 8, 16).copy_((scores_TE.slice(0, 8, 16) * 1.5).round());
    float* row = scores_TE.mutable_data_ptr<float>();
    for (int64_t t = 16; t < 24; ++t)
      for (int64_t e = 0; e < E; ++e)
        if ((e * 7 + t) % 3 == 0) row[t * E + e] = (e + t) % 2 ? nan : t % 2 ? inf : -inf;
    for (const int64_t k : {int64_t{1}, int64_t{2}, int64_t{8}, int64_t{16}, int64_t{40}}) {
      if (k > E) continue;
      std::vector<Tensor> found;
      for (const auto set : cpu::available_instruction_sets()) {
        const WithInstructionSet with(set);
        found.push_back(ops::topk(scores_TE, k).second);
        expect_identical(found.back(), found.front(), cpu::name_of(set));
      }
    }
    if (E < 100)
      for (const auto set : cpu::available_instruction_sets()) {
        const WithInstructionSet with(set);
        expect_topk(scores_TE, std::min<int64_t>(E, 9));
      }
  }
}

TEST(TopK, TakesEmptyAndSingleInputs) {
  expect_topk(at::zeros({0, 4}), 2);
  expect_topk(at::zeros({1, 1}), 1);
}

TEST(TopK, RefusesKOutsideTheColumns) {
  EXPECT_ERROR(ops::topk(at::zeros({2, 3}), 0), "k in [1, E]");
  EXPECT_ERROR(ops::topk(at::zeros({2, 3}), 4), "k=4");
  EXPECT_ERROR(ops::topk(at::zeros({3}), 1), "expected scores (T, E)");
}

TEST(TopK, ValuesHaveTheGradientOfTheirColumns) {
  expect_gradients([](const auto& in) { return ops::topk(in[0], 3).first.square(); },
                   {spread(normal({5, 7}, 3), 1e-3).contiguous()});
}

TEST(TopK, ThreadsChangeNothing) {
  const Tensor scores_TE = normal({5000, 16}, 4);
  std::vector<Tensor> found;
  for (const int threads : {1, 2, 3}) {
    const WithThreads with(threads);
    found.push_back(ops::topk(scores_TE, 4).second);
  }
  expect_identical(found[1], found[0]);
  expect_identical(found[2], found[0]);
}

}  // namespace

}  // namespace moe::ops::order_test
