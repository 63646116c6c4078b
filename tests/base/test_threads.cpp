#include <atomic>
#include <set>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

#include <moe/base/threads.h>

namespace moe {
namespace {

TEST(InParallel, CallsEveryIndexOnce) {
  for (const int64_t threads : {0, 1, 3, 8})
    for (const int64_t count : {0, 1, 2, 100}) {
      std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
      std::vector<std::atomic<int>> busy(8);
      std::atomic<int> wrong = 0;
      in_parallel(count, threads, [&](int64_t index, size_t worker) {
        wrong += busy.at(worker)++ != 0;
        ++calls[static_cast<size_t>(index)];
        --busy[worker];
      });
      for (const auto& number : calls) EXPECT_EQ(number, 1);
      EXPECT_EQ(wrong, 0);
    }
}

TEST(InParallel, OneThreadGoesInOrder) {
  std::vector<int64_t> seen;
  in_parallel(5, 1, [&](int64_t index, size_t worker) {
    EXPECT_EQ(worker, 0u);
    seen.push_back(index);
  });
  EXPECT_EQ(seen, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

TEST(InParallel, ThrowsWhatTheLowestIndexThrew) {
  for (int round = 0; round < 50; ++round)
    for (const int64_t threads : {1, 4}) {
      try {
        in_parallel(40, threads, [&](int64_t index, size_t) {
          if (index % 7 == 5) throw std::runtime_error(std::to_string(index));
        });
        FAIL();
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "5");
      }
    }
}

}  // namespace
}  // namespace moe
