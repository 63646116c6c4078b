// Few queries over rings of keys. M queries, R rows of memory, H query heads, G key-value heads, P
// head width.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/attend_rows.h>

namespace moe::ops::attend_rows_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::WithThreads;

Tensor floats(at::IntArrayRef sizes, uint64_t seed) {
  return normal(sizes, seed).to(at::kFloat);
}

Tensor naive(const Tensor& q_MHP, const Tensor& key_RGP, const Tensor& value_RGP,
             const std::vector<SeenRows>& seen_M) {
  const int64_t M = q_MHP.size(0), H = q_MHP.size(1), P = q_MHP.size(2), G = key_RGP.size(1);
  Tensor out_MHP = at::zeros({M, H, P}, at::kDouble);
  for (int64_t m = 0; m < M; ++m)
    for (int64_t h = 0; h < H; ++h) {
      const SeenRows& seen = seen_M[static_cast<size_t>(m)];
      std::vector<Tensor> keys, values;
      for (int64_t c = 0; c < seen.count; ++c) {
        const int64_t row = seen.base + (seen.first + c) % seen.size;
        keys.push_back(key_RGP[row][h / (H / G)].to(at::kDouble));
        values.push_back(value_RGP[row][h / (H / G)].to(at::kDouble));
      }
      const Tensor scores_C =
          at::stack(keys).mv(q_MHP[m][h].to(at::kDouble)) / std::sqrt(static_cast<double>(P));
      out_MHP[m][h] = at::stack(values).t().mv(at::softmax(scores_C, 0));
    }
  return out_MHP;
}

TEST(AttendRows, EqualsTheNaiveLoops) {
  if (!can_attend_rows(floats({1, 1, 1}, 1), floats({1, 1, 1}, 1)))
    GTEST_SKIP() << "libtorch's operators are in use";
  for (const int64_t P : {1, 2, 6, 8, 17, 64, 100})
    for (const auto& [H, G] : {std::pair<int64_t, int64_t>{1, 1}, {4, 4}, {6, 2}, {3, 1}}) {
      const Tensor q_MHP = floats({4, H, P}, 1), key_RGP = floats({90, G, P}, 2),
                   value_RGP = floats({90, G, P}, 3);
      const std::vector<SeenRows> seen = {
          {0, 10, 0, 10}, {0, 10, 7, 9}, {10, 80, 0, 1}, {10, 80, 33, 80}};
      expect_close(attend_rows(q_MHP, key_RGP, value_RGP, seen),
                   naive(q_MHP, key_RGP, value_RGP, seen), 2e-6);
    }
}

TEST(AttendRows, AQueryGetsTheSameBitsInAnyCompany) {
  if (!can_attend_rows(floats({1, 1, 1}, 1), floats({1, 1, 1}, 1)))
    GTEST_SKIP() << "libtorch's operators are in use";
  const Tensor q_MHP = floats({7, 3, 10}, 1), key_RGP = floats({500, 3, 10}, 2),
               value_RGP = floats({500, 3, 10}, 3);
  std::vector<SeenRows> seen;
  for (int64_t m = 0; m < 7; ++m) seen.push_back({m, 400, 13 * m, 50 * m + 1});
  for (const int threads : {1, 2, 3}) {
    const WithThreads with(threads);
    const Tensor all_MHP = attend_rows(q_MHP, key_RGP, value_RGP, seen);
    for (int64_t m = 0; m < 7; ++m) {
      const SeenRows mine = seen[static_cast<size_t>(m)];
      // Alone, over a memory of its own at another address.
      const Tensor key = key_RGP.slice(0, mine.base, mine.base + mine.size).clone(),
                   value = value_RGP.slice(0, mine.base, mine.base + mine.size).clone();
      expect_identical(attend_rows(q_MHP.slice(0, m, m + 1).clone(), key, value,
                                   {{0, mine.size, mine.first, mine.count}})[0],
                       all_MHP[m]);
    }
  }
}

TEST(AttendRows, RefusesRowsThatAreNotThere) {
  if (!can_attend_rows(floats({1, 1, 1}, 1), floats({1, 1, 1}, 1)))
    GTEST_SKIP() << "libtorch's operators are in use";
  const Tensor q = floats({1, 2, 4}, 1), memory = floats({8, 2, 4}, 2);
  EXPECT_ERROR(attend_rows(q, memory, memory, {{0, 9, 0, 1}}), "inside 8");
  EXPECT_ERROR(attend_rows(q, memory, memory, {{0, 8, 0, 9}}), "got 9 from 0");
  EXPECT_ERROR(attend_rows(q, memory, memory, {{0, 8, 8, 1}}), "got 1 from 8");
  EXPECT_ERROR(attend_rows(q, memory, memory, {{0, 8, 0, 0}}), "got 0 from 0");
  EXPECT_ERROR(attend_rows(q, memory, memory, {}), "the same heads");
  EXPECT_ERROR(attend_rows(q, memory.to(at::kDouble), memory, {{0, 8, 0, 1}}), "float32");
  EXPECT_EQ(attend_rows(floats({0, 2, 4}, 1), memory, memory, {}).size(0), 0);
}

}  // namespace

}  // namespace moe::ops::attend_rows_test
