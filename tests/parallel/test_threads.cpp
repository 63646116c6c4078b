// What ranks that are threads promise when they disagree, fail or leave.

#include <functional>
#include <stdexcept>
#include <tests/support/message_of.h>

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/parallel/threads.h>

namespace {

using at::Tensor;
using moe::parallel::Reduce;
using moe::parallel::run_ranks;
using moe::test::message_of;
using Group = std::shared_ptr<moe::parallel::Communicator>;

/// Runs `function` on 3 ranks and returns what each one's moe::Error says.
std::vector<std::string> messages_of(const std::function<void(Group)>& function) {
  std::vector<std::string> messages(3);
  run_ranks(3,
            [&](Group group) { messages[group->rank()] = message_of([&] { function(group); }); });
  return messages;
}

void expect_all_say(const std::vector<std::string>& messages, const std::string& part) {
  for (const auto& message : messages)
    EXPECT_NE(message.find(part), std::string::npos) << "got '" << message << "'";
}

TEST(ThreadRanks, FailureOfOneWakesTheOthersWhichNameIt) {
  std::vector<std::string> messages(3);
  const auto work = [&](Group group) {
    if (group->rank() == 1) throw std::runtime_error("out of paper");
    messages[group->rank()] = message_of([&] { group->barrier(); });
    moe::fail("test", "a consequence");
  };
  try {
    run_ranks(3, work);
    FAIL() << "expected the first exception";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "out of paper");
  }
  for (const int64_t rank : {0, 2})
    EXPECT_NE(messages[rank].find("rank 1 failed: out of paper"), std::string::npos)
        << messages[rank];
}

TEST(ThreadRanks, FailureReachesSplitGroups) {
  std::vector<std::string> messages(4);
  EXPECT_THROW(run_ranks(4,
                         [&](Group group) {
                           const Group pair = group->split(group->rank() / 2, 0);
                           if (group->rank() == 3) throw 3;  // not even an exception class
                           messages[group->rank()] = message_of([&] {
                             while (true) pair->barrier();
                           });
                         }),
               int);
  for (const int64_t rank : {0, 1, 2})
    EXPECT_NE(messages[rank].find("rank 3 failed"), std::string::npos) << messages[rank];
}

TEST(ThreadRanks, LeavingEarlyFailsTheOthersInsteadOfHanging) {
  const auto messages = messages_of([](Group group) {
    if (group->rank() != 2) group->barrier();
  });
  EXPECT_NE(messages[0].find("rank 2 has left"), std::string::npos) << messages[0];
  EXPECT_NE(messages[1].find("rank 2 has left"), std::string::npos) << messages[1];
}

TEST(ThreadRanks, RefuseDifferentCollectives) {
  const auto messages = messages_of([](Group group) {
    Tensor values = at::ones({1});
    if (group->rank() == 1)
      group->barrier();
    else
      group->all_reduce(values);
  });
  expect_all_say(messages, "rank 0: all_reduce (sum), rank 1: barrier");
}

TEST(ThreadRanks, RefuseDifferentReductions) {
  expect_all_say(messages_of([](Group group) {
                   Tensor values = at::ones({1});
                   group->all_reduce(values, group->rank() == 0 ? Reduce::kMax : Reduce::kSum);
                 }),
                 "rank 0: all_reduce (max), rank 1: all_reduce (sum)");
}

TEST(ThreadRanks, NoticeThatEveryoneWaitsForSomeoneElse) {
  const auto messages = messages_of([](Group group) {
    const Group pair = group->split(group->rank() == 2 ? 1 : 0, 0);
    (group->rank() == 0 ? pair : group)->barrier();
  });
  expect_all_say(messages, "waiting for one another in different groups");
}

TEST(ThreadRanks, RefuseTensorsThatDiffer) {
  expect_all_say(messages_of([](Group group) {
                   Tensor values = at::ones({group->rank() == 2 ? 4 : 3});
                   group->all_reduce(values);
                 }),
                 "[parallel/threads, rank 2] expected all_reduce (sum) of the sizes and dtype of "
                 "rank 0, Float [3], "
                 "got Float [4]");
  expect_all_say(messages_of([](Group group) {
                   Tensor values = at::ones({3}, group->rank() == 1 ? at::kDouble : at::kFloat);
                   group->broadcast(values, 0);
                 }),
                 "got Double [3]");
  expect_all_say(messages_of([](Group group) {
                   const Tensor rows = at::ones({0, group->rank() == 1 ? 3 : 2});
                   group->all_gather_v(rows, {0, 0, 0});
                 }),
                 "rank 1] expected all_gather_v of rows with the trailing sizes and dtype");
}

TEST(ThreadRanks, RefuseCountsThatDisagree) {
  expect_all_say(messages_of([](Group group) {
                   std::vector<int64_t> receive = {1, 1, 1};
                   if (group->rank() == 2) receive = {1, 2, 0};
                   group->all_to_all_v(at::ones({3, 1}), {1, 1, 1}, receive);
                 }),
                 "rank 2] expected to receive 2 rows from rank 1, got 1");
  expect_all_say(messages_of([](Group group) {
                   const std::vector<int64_t> counts = {1, 1, group->rank() == 0 ? 5 : 1};
                   group->all_gather_v(at::ones({1, 1}), counts);
                 }),
                 "rank 0] expected 5 rows from rank 2, got 1");
  expect_all_say(messages_of([](Group group) {
                   Tensor values = at::ones({1});
                   group->broadcast(values, group->rank() == 1 ? 1 : 0);
                 }),
                 "rank 1] expected the root of rank 0, 0, got 1");
}

TEST(ThreadRanks, RefuseToAddBooleans) {
  expect_all_say(messages_of([](Group group) {
                   Tensor flags = at::ones({2}, at::kBool);
                   group->all_reduce(flags, Reduce::kMax);
                   group->all_reduce(flags);
                 }),
                 "expected numbers to add, got bool");
}

TEST(ThreadRanks, NumberIsBounded) {
  const auto nothing = [](Group) {};
  EXPECT_THROW(run_ranks(0, nothing), moe::ConfigError);
  EXPECT_THROW(run_ranks(100000, nothing), moe::ConfigError);
}

}  // namespace
