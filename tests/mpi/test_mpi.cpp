// What ranks that are processes promise beyond the contract. W ranks.

#include <atomic>
#include <fcntl.h>
#include <fstream>
#include <sys/mman.h>
#include <unistd.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "tests/mpi/mpi_program.h"
#include "tests/support/message_of.h"

namespace moe::test {
namespace {

using at::Tensor;
using parallel::Reduce;
using parallel::Started;
using Group = std::shared_ptr<parallel::Communicator>;

int64_t W() {
  return mpi().size();
}

#define NEEDS_RANKS(least) \
  if (W() < (least)) GTEST_SKIP() << "needs " << (least) << " ranks"

/// A number that all ranks share.
class SharedNumber {
 public:
  SharedNumber() {
    Tensor process = at::full({}, static_cast<int64_t>(::getpid()), at::kLong);
    mpi().world()->broadcast(process, 0);
    path_ = "/tmp/moe-test-mpi-" + std::to_string(process.item<int64_t>());
    const int file = ::open(path_.c_str(), O_CREAT | O_RDWR, 0600);
    EXPECT_EQ(::ftruncate(file, sizeof(std::atomic<int64_t>)), 0);
    void* const at =
        ::mmap(nullptr, sizeof(std::atomic<int64_t>), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::close(file);
    number_ = static_cast<std::atomic<int64_t>*>(at);
    mpi().world()->barrier();
    ::unlink(path_.c_str());
  }
  SharedNumber(const SharedNumber&) = delete;
  SharedNumber& operator=(const SharedNumber&) = delete;
  ~SharedNumber() { ::munmap(number_, sizeof *number_); }

  std::atomic<int64_t>& operator*() { return *number_; }

 private:
  std::string path_;
  std::atomic<int64_t>* number_ = nullptr;
};

TEST(MpiRanks, BarrierWaitsForAll) {
  SharedNumber arrived;
  for (int64_t round = 1; round <= 20; ++round) {
    ++*arrived;
    mpi().world()->barrier();
    EXPECT_EQ((*arrived).load(), round * W());
    mpi().world()->barrier();
  }
}

/// The call must throw on every rank; afterwards the group works.
void expect_all_refuse(const std::function<void(const Group&)>& call, const std::string& part) {
  const Group group = mpi().world();
  EXPECT_ERROR(call(group), part);
  group->barrier();
}

TEST(MpiRanks, RefuseDifferentCollectives) {
  NEEDS_RANKS(2);
  expect_all_refuse(
      [](const Group& group) {
        Tensor values = at::ones({1});
        if (group->rank() == 1)
          group->barrier();
        else
          group->all_reduce(values);
      },
      "rank 0: all_reduce (sum), rank 1: barrier");
  expect_all_refuse(
      [](const Group& group) {
        Tensor values = at::ones({1});
        group->all_reduce(values, group->rank() == 0 ? Reduce::kMax : Reduce::kSum);
      },
      "rank 0: all_reduce (max), rank 1: all_reduce (sum)");
  expect_all_refuse(
      [](const Group& group) {
        Tensor values = at::ones({1});
        if (group->rank() == 0)
          group->start_all_reduce(values).wait();
        else
          group->all_reduce(values);
      },
      "rank 0: start_all_reduce (sum), rank 1: all_reduce (sum)");
}

TEST(MpiRanks, RefuseTensorsAndCountsThatDiffer) {
  NEEDS_RANKS(2);
  const int64_t last = W() - 1;
  expect_all_refuse(
      [&](const Group& group) {
        Tensor values = at::ones({group->rank() == last ? 4 : 3});
        group->all_reduce(values);
      },
      "expected all_reduce (sum) of the sizes and dtype of rank 0, Float [3], got Float [4]");
  expect_all_refuse(
      [&](const Group& group) {
        Tensor values = at::ones({3}, group->rank() == last ? at::kDouble : at::kFloat);
        group->broadcast(values, 0);
      },
      "got Double [3]");
  expect_all_refuse(
      [&](const Group& group) {
        const Tensor rows = at::ones({0, group->rank() == last ? 3 : 2});
        group->all_gather_v(rows, std::vector<int64_t>(W(), 0));
      },
      "the trailing sizes and dtype of rank 0");
  expect_all_refuse(
      [&](const Group& group) {
        std::vector<int64_t> counts(W(), 1);
        if (group->rank() == last) counts[0] = 2, counts[last] = 0;
        group->reduce_scatter_v(at::ones({W(), 1}), counts);
      },
      "expected the counts of rank 0");
  const std::vector<int64_t> ones(W(), 1);
  const Group group = mpi().world();
  auto receive = ones;
  if (group->rank() == last) receive[0] = 2;
  // The two ranks of the pair say which counts; the others, that there are some.
  const auto message = message_of([&] { group->all_to_all_v(at::ones({W(), 1}), ones, receive); });
  if (group->rank() == 0 || group->rank() == last)
    EXPECT_PRED2(contains, message, "expected to receive 2 rows from rank 0, got 1");
  else
    EXPECT_PRED2(contains, message, "counts that agree");
  group->barrier();
}

TEST(MpiRanks, RefuseWhatTheyCannotCarry) {
  expect_all_refuse(
      [](const Group& group) {
        Tensor values = at::ones({1, 1, 1, 1, 1, 1, 1, 1, 1});
        group->all_reduce(values);
      },
      "at most 8 dimensions");
  expect_all_refuse(
      [](const Group& group) {
        Tensor values = at::ones({2}, at::kBool);
        group->all_reduce(values, Reduce::kMax);
        group->all_reduce(values);
      },
      "expected numbers to add, got bool");
}

TEST(MpiRanks, GroupsOfGroupsKeepTheirMessagesApart) {
  const Group all = mpi().world();
  std::vector<Group> groups;
  for (int64_t round = 0; round < 6; ++round)
    groups.push_back(all->split(round % 2 == 0 ? 0 : all->rank() % 2, -all->rank()));
  std::vector<Started> sums;
  for (size_t i = 0; i < groups.size(); ++i)
    sums.push_back(groups[i]->start_all_reduce(at::full({30000}, static_cast<int64_t>(i))));
  for (size_t i = groups.size(); i-- > 0;) {
    const Tensor sum = sums[i].wait();
    EXPECT_TRUE(sum.eq(static_cast<int64_t>(i) * groups[i]->size()).all().item<bool>());
  }
}

TEST(MpiRanks, CountWhatTheySend) {
  const int64_t values = 1 << 20, before = mpi().bytes_sent();
  const Group group = mpi().world();
  group->all_gather_v(at::ones({values}), std::vector<int64_t>(W(), values));
  const int64_t sent = mpi().bytes_sent() - before, must = (W() - 1) * values * 4;
  EXPECT_GE(sent, must);
  EXPECT_LE(sent, must * 1.01);
}

int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  int64_t all = 0, resident = 0;
  in >> all >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

TEST(MpiRanks, KeepNothingOfTenThousandCollectives) {
  if (W() != 2) GTEST_SKIP() << "two ranks show it";
  const Group group = mpi().world();
  const std::vector<int64_t> counts(W(), 500);
  const auto round = [&](int64_t i) {
    Tensor small = at::full({8}, i, at::kDouble), large = at::ones({4000});
    Started started = group->start_all_reduce(large);
    group->all_reduce(small);
    const Tensor rows = group->all_to_all_v(at::ones({500 * W(), 2}), counts, counts);
    if (i % 2 == 0) started.wait();  // every other one is dropped
    group->broadcast(small, i % W());
    if (i % 100 == 0) group->split(0, 0)->barrier();
  };
  int64_t i = 0;
  for (; i < 500; ++i) round(i);
  const int64_t before = resident_bytes();
  for (; i < 2500; ++i) round(i);
  EXPECT_LT(resident_bytes() - before, 4 << 20);
}

/// Set by hand: it takes 4.3 GB of memory a rank.
TEST(MpiRanks, CarryMoreThanTwoGibibytes) {
  if (!std::getenv("MOE_TEST_LARGE_MESSAGES")) GTEST_SKIP() << "needs MOE_TEST_LARGE_MESSAGES=1";
  const int64_t rows = (int64_t{1} << 31) + 1001;
  const Group group = mpi().world();
  const Tensor mine = at::full({rows}, group->rank() + 1, at::kByte);
  std::vector<int64_t> send(W(), 0), receive(W(), 0);
  send[(group->rank() + 1) % W()] = rows;
  receive[(group->rank() + W() - 1) % W()] = rows;
  const Tensor came = group->all_to_all_v(mine, send, receive);
  EXPECT_EQ(came.size(0), rows);
  const int64_t sender = (group->rank() + W() - 1) % W() + 1;
  EXPECT_EQ(came.min().item<int64_t>(), sender);
  EXPECT_EQ(came.max().item<int64_t>(), sender);
}

}  // namespace
}  // namespace moe::test
