// The pool of memory and libtorch's tensors on it.
#include <cstring>
#include <random>
#include <set>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <moe/base/memory.h>

#include "tests/support/page_faults.h"

namespace moe::test {
namespace {

constexpr size_t kPage = 4096;

/// Of a large block: it keeps two pages' distance to the next.
size_t held(size_t bytes) {
  return bytes + 2 * kPage;
}

TEST(MemoryPool, CountsEveryPage) {
  MemoryPool pool;
  void* const a = pool.take(10 * kPage);
  void* const b = pool.take(5 * kPage + 1);
  EXPECT_EQ(pool.use().in_use, 16 * kPage);
  EXPECT_EQ(pool.use().mapped, 16 * kPage);
  EXPECT_TRUE(pool.give_back(b));
  EXPECT_EQ(pool.use().in_use, 10 * kPage);
  EXPECT_EQ(pool.use().kept, 6 * kPage);
  EXPECT_EQ(pool.use().most_in_use, 16 * kPage);
  EXPECT_TRUE(pool.give_back(a));
  EXPECT_EQ(pool.use().in_use, 0u);
  EXPECT_EQ(pool.use().kept, 16 * kPage);
  pool.release();
  EXPECT_EQ(pool.use().kept, 0u);
  EXPECT_EQ(pool.use().most_in_use, 0u);
  EXPECT_EQ(pool.use().mapped, 16 * kPage);
}

TEST(MemoryPool, HandsOutTheSamePagesAgain) {
  MemoryPool pool;
  void* const first = pool.take(100 * kPage);
  std::memset(first, 1, 100 * kPage);
  pool.give_back(first);
  EXPECT_EQ(pool.take(100 * kPage), first);
  EXPECT_EQ(pool.use().mapped, 100 * kPage);
  pool.give_back(first);
  // A smaller piece is cut from its front, the rest stays to be had.
  EXPECT_EQ(pool.take(30 * kPage), first);
  void* const rest = pool.take(70 * kPage);
  EXPECT_EQ(rest, static_cast<char*>(first) + 30 * kPage);
  pool.give_back(first);
  pool.give_back(rest);
  EXPECT_EQ(pool.take(100 * kPage), first) << "neighbours become one range again";
  EXPECT_EQ(pool.use().mapped, 100 * kPage);
  pool.give_back(first);
}

TEST(MemoryPool, TakesTheSmallestRangeThatHoldsIt) {
  MemoryPool pool;
  // Pieces between them, so that they do not join.
  void* const large = pool.take(64 * kPage);
  void* const between = pool.take(kPage);
  void* const small = pool.take(20 * kPage);
  void* const behind = pool.take(kPage);
  pool.give_back(large);
  pool.give_back(small);
  EXPECT_EQ(pool.take(20 * kPage), small);
  for (void* const piece : {between, behind, small}) EXPECT_TRUE(pool.give_back(piece));
}

TEST(MemoryPool, RefusesWhatItDidNotGive) {
  MemoryPool pool;
  char* const data = static_cast<char*>(pool.take(2 * kPage));
  EXPECT_FALSE(pool.give_back(data + kPage));
  EXPECT_TRUE(pool.give_back(data));
  EXPECT_FALSE(pool.give_back(data)) << "given back twice";
}

TEST(MemoryPool, KeepsLittleMoreThanWasInUseAtOnce) {
  MemoryPool pool;
  std::minstd_rand random(1);
  std::vector<std::pair<char*, size_t>> pieces;
  size_t in_use = 0, most = 0;
  for (int i = 0; i < 4000; ++i) {
    if (pieces.size() < 40 && random() % 3 != 0) {
      const size_t pages = 1 + random() % 200;
      pieces.emplace_back(static_cast<char*>(pool.take(pages * kPage)), pages * kPage);
      std::memset(pieces.back().first, static_cast<int>(pages), pages * kPage);
      in_use += pages * kPage;
    } else if (!pieces.empty()) {
      std::swap(pieces[random() % pieces.size()], pieces.back());
      const auto [data, bytes] = pieces.back();
      const char mark = static_cast<char>(bytes / kPage);
      ASSERT_TRUE(data[0] == mark && data[bytes / 2] == mark && data[bytes - 1] == mark)
          << "two pieces overlap";
      ASSERT_TRUE(pool.give_back(data));
      in_use -= bytes;
      pieces.pop_back();
    }
    most = std::max(most, in_use);
    const auto use = pool.use();
    ASSERT_EQ(use.in_use, in_use);
    ASSERT_EQ(use.most_in_use, most);
    ASSERT_LE(static_cast<double>(use.in_use + use.kept),
              MemoryPool::kKeptShare * static_cast<double>(most));
  }
  for (const auto& [data, bytes] : pieces) pool.give_back(data);
}

TEST(MemoryPool, ReturnsPagesToTheSystem) {
  if (const char* reason = no_page_faults_here()) GTEST_SKIP() << reason;
  constexpr size_t kPages = 1000;
  MemoryPool pool;
  const auto faults_of_a_use = [&] {
    const int64_t before = page_faults();
    void* const data = pool.take(kPages * kPage);
    std::memset(data, 1, kPages * kPage);
    pool.give_back(data);
    return page_faults() - before;
  };
  EXPECT_GE(faults_of_a_use(), static_cast<int64_t>(kPages));
  EXPECT_LE(faults_of_a_use(), 8);
  pool.release();
  EXPECT_GE(faults_of_a_use(), static_cast<int64_t>(kPages));
}

TEST(MemoryPool, SaysHowMuchWasNotToBeHad) {
  for (const size_t bytes : {size_t{1} << 60, SIZE_MAX}) {
    MemoryPool pool;
    pool.give_back(pool.take(kPage));
    try {
      pool.take(bytes);
      FAIL() << "expected NoMemory";
    } catch (const NoMemory& error) {
      EXPECT_NE(std::string(error.what()).find(std::to_string(bytes)), std::string::npos)
          << error.what();
    }
    EXPECT_EQ(pool.use().in_use, 0u);
  }
}

TEST(MemoryPool, GivesBackWhatIsKeptBeforeItGivesUp) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer needs the address space that this test takes away";
#endif
  const pid_t child = fork();
  if (child == 0) {
    // Room for 450 MiB more; 300 MiB kept in one piece and 400 MiB wanted in one.
    MemoryPool pool;
    size_t pages = 0;
    FILE* const statm = fopen("/proc/self/statm", "r");
    if (!statm || fscanf(statm, "%zu", &pages) != 1) _exit(10);
    fclose(statm);
    const rlimit limit{pages * kPage + (size_t{450} << 20), RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(11);
    pool.give_back(pool.take(size_t{300} << 20));
    if (pool.use().kept != held(size_t{300} << 20)) _exit(12);
    pool.take(size_t{400} << 20);
    _exit(pool.use().kept == 0 ? 0 : 13);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(TakeMemory, IsAlignedAndTellsItsPiecesApart) {
  EXPECT_EQ(take_memory(0), nullptr);
  give_back_memory(nullptr);
  const auto before = memory_pool().use();
  std::vector<void*> pieces;
  for (size_t bytes = 1; bytes < 4 * kPooledBytes; bytes += 3001) {
    for (int i = 0; i < 8; ++i) {
      pieces.push_back(take_memory(bytes));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(pieces.back()) % 64, 0u);
      std::memset(pieces.back(), 1, bytes);
    }
  }
  // malloc's pieces may begin pages too.
  for (int i = 0; i < 8; ++i) pieces.push_back(std::aligned_alloc(kPage, kPage));
  EXPECT_GT(memory_pool().use().in_use, before.in_use);
  for (void* const piece : pieces) give_back_memory(piece);
  EXPECT_EQ(memory_pool().use().in_use, before.in_use);
}

TEST(TakeMemory, IsSafeFromAnyThread) {
  const auto before = memory_pool().use();
  std::vector<std::jthread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed)
    threads.emplace_back([seed] {
      std::minstd_rand random(seed);
      std::vector<std::pair<unsigned char*, size_t>> mine;
      for (int i = 0; i < 2000; ++i) {
        if (mine.size() < 10) {
          const size_t bytes = 1 + random() % (3 * kPooledBytes);
          auto* const data = static_cast<unsigned char*>(take_memory(bytes));
          data[0] = data[bytes - 1] = static_cast<unsigned char>(seed);
          mine.emplace_back(data, bytes);
        } else {
          std::swap(mine[random() % mine.size()], mine.back());
          const auto [data, bytes] = mine.back();
          EXPECT_TRUE(data[0] == seed && data[bytes - 1] == seed);
          give_back_memory(data);
          mine.pop_back();
        }
      }
      for (const auto& [data, bytes] : mine) give_back_memory(data);
    });
  threads.clear();
  EXPECT_EQ(memory_pool().use().in_use, before.in_use);
}

TEST(TakeMemory, SurvivesAForkWhileOthersTake) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer does not follow a fork of a process with threads";
#endif
  std::atomic<bool> stop = false;
  std::jthread other([&] {
    while (!stop) give_back_memory(take_memory(kPooledBytes));
  });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);  // a child that waits for ever ends with a signal
      give_back_memory(take_memory(2 * kPooledBytes));
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  stop = true;
}

TEST(MemoryPool, LargeBlocksOfOneSizeBeginAtOdds) {
  // Four streams 2^n bytes apart would share cache sets and banks of memory.
  MemoryPool pool;
  constexpr size_t kSize = size_t{4} << 20;
  std::vector<void*> blocks;
  std::set<uintptr_t> places;
  for (int i = 0; i < 4; ++i) {
    blocks.push_back(pool.take(kSize));
    places.insert(reinterpret_cast<uintptr_t>(blocks.back()) % kSize);
  }
  EXPECT_EQ(places.size(), 4u);
  EXPECT_EQ(pool.use().in_use, 4 * held(kSize));
  for (void* const block : blocks) EXPECT_TRUE(pool.give_back(block));
}

TEST(KeepFreedMemory, PutsTensorsOnThePool) {
  at::Tensor before = at::empty({1 << 20});  // libtorch's own, and freed as such
  keep_freed_memory();
  keep_freed_memory();  // again changes nothing
  const auto use = memory_pool().use();
  before = at::Tensor();
  EXPECT_EQ(memory_pool().use().in_use, use.in_use);
  {
    const at::Tensor a = at::empty({1 << 20}), small = at::empty({3}), none = at::empty({0});
    EXPECT_EQ(memory_pool().use().in_use, use.in_use + held(size_t{4} << 20));
    EXPECT_EQ(a.storage().data_ptr().get(), a.storage().data_ptr().get_context());
    EXPECT_EQ(none.const_data_ptr(), nullptr);
    const at::Tensor copy = a.clone();
    EXPECT_EQ(memory_pool().use().in_use, use.in_use + 2 * held(size_t{4} << 20));
  }
  EXPECT_EQ(memory_pool().use().in_use, use.in_use);
  c10::Allocator& allocator = *c10::GetCPUAllocator();
  void* const raw = allocator.raw_allocate(size_t{1} << 20);
  EXPECT_EQ(memory_pool().use().in_use, use.in_use + held(size_t{1} << 20));
  allocator.raw_deallocate(raw);
  EXPECT_EQ(memory_pool().use().in_use, use.in_use);
  EXPECT_THROW(at::empty({int64_t{1} << 58}), NoMemory);
}

}  // namespace
}  // namespace moe::test
