// How many chunks measured steps lead to. W ranks.
#include <map>

#include <gtest/gtest.h>

#include <moe/parallel/chunks.h>
#include <moe/parallel/threads.h>

#include "tests/support/message_of.h"

namespace moe::test::chunks_test {
namespace {

using parallel::Chunks;
using parallel::run_ranks;
using Group = std::shared_ptr<parallel::Communicator>;

/// Steps through a trial, each of `seconds(chunks, rank)`; what it chose.
template <class Seconds>
Chunks::Choice trial(Chunks& chunks, parallel::Communicator& group, const Seconds& seconds) {
  for (int64_t step = 0; step < 64; ++step)
    if (const auto choice = chunks.end_step(seconds(chunks.now(), group.rank()), group))
      return *choice;
  ADD_FAILURE() << "the trial did not end";
  return {};
}

TEST(Chunks, AreWhatIsAskedFor) {
  EXPECT_EQ(Chunks().now(), 1);
  Chunks four(4);
  EXPECT_EQ(four.now(), 4);
  run_ranks(2, [](const Group& group) {
    Chunks mine(4);
    mine.hold(8);
    EXPECT_FALSE(mine.end_step(1, *group));
    EXPECT_EQ(mine.now(), 4);
  });
  EXPECT_ERROR(Chunks(-1), "expected 'parallel.chunks' in [0, 1024], got -1");
  EXPECT_ERROR(Chunks(1025), "got 1025. 0 lets the run find the fastest");
}

TEST(Chunks, AreTheFastestByTheSlowestRank) {
  for (const int64_t W : {2, 3, 4})
    run_ranks(W, [](const Group& group) {
      Chunks chunks(0);
      chunks.hold(8);
      // Rank 0 alone would take 8; the last rank, which is slower, makes 4 the best.
      const auto choice = trial(chunks, *group, [&](int64_t number, int64_t rank) {
        const std::map<int64_t, double> first = {{1, 0.9}, {2, 0.8}, {4, 0.7}, {8, 0.1}},
                                        last = {{1, 1.0}, {2, 0.95}, {4, 0.75}, {8, 1.5}};
        return (rank + 1 == group->size() ? last : first).at(number);
      });
      EXPECT_EQ(choice.chunks, 4);
      EXPECT_DOUBLE_EQ(choice.seconds, 0.75);
      EXPECT_DOUBLE_EQ(choice.seconds_of_one, 1.0);
      EXPECT_EQ(chunks.now(), 4);
    });
}

TEST(Chunks, AreOneWhereMoreDoNotPay) {
  run_ranks(2, [](const Group& group) {
    Chunks chunks(0);
    chunks.hold(8);
    const auto within = trial(chunks, *group, [](int64_t number, int64_t) {
      return number == 1 ? 1.0 : 0.99;  // within noise
    });
    EXPECT_EQ(within.chunks, 1);
    EXPECT_DOUBLE_EQ(within.seconds, 1);
  });
}

TEST(Chunks, AreTriedUpToTheExpertsOfARankAndNotWithOne) {
  run_ranks(2, [](const Group& group) {
    Chunks few(0), one(0);
    few.hold(3);
    one.hold(1);
    int64_t most = 0;
    trial(few, *group, [&](int64_t number, int64_t) {
      most = std::max(most, number);
      return 1.0 / static_cast<double>(number);
    });
    EXPECT_EQ(most, 2);
    EXPECT_EQ(few.now(), 2);
    for (int64_t step = 0; step < 20; ++step) {
      EXPECT_EQ(one.now(), 1);
      EXPECT_FALSE(one.end_step(1, *group));
    }
  });
}

TEST(Chunks, AreTriedAgainAndForgetTheFirstRound) {
  run_ranks(2, [](const Group& group) {
    Chunks chunks(0);
    chunks.hold(2);
    int64_t step = 0;
    // A first step that seems quick does not count.
    EXPECT_EQ(trial(chunks, *group,
                    [&](int64_t number, int64_t) {
                      return step++ < 2 ? 0.1 : number == 1 ? 1.0 : 0.5;
                    })
                  .chunks,
              2);
    for (int64_t later = 0; later < Chunks::kPeriod; ++later) {
      EXPECT_EQ(chunks.now(), 2);
      EXPECT_FALSE(chunks.end_step(9, *group));
    }
    EXPECT_EQ(chunks.now(), 1);  // the first to try
    EXPECT_EQ(trial(chunks, *group, [](int64_t number, int64_t) { return 1.0 * number; }).chunks,
              1);
    EXPECT_EQ(chunks.now(), 1);
  });
}

}  // namespace
}  // namespace moe::test::chunks_test
