#include <algorithm>
#include <cstdlib>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <moe/base/error.h>
#include <moe/base/memory.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) static_cast<void>(0)
#endif

namespace moe {

namespace {

constexpr size_t kAlignment = 64;

size_t page_size() {
  static const auto size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

/// Tensors of 2^n bytes that lay 2^n bytes apart would share cache sets and banks of memory: an
/// update that reads four of them in step took 28 ms instead of 16. So large blocks are staggered
/// by 8 KiB.
constexpr size_t kStaggeredBytes = size_t{1} << 20, kStagger = size_t{8} << 10;

/// Whole pages for a request.
size_t pages_for(size_t bytes) {
  const size_t page = page_size(), room = bytes < kStaggeredBytes ? bytes : bytes + kStagger;
  return std::max(page, (room + page - 1) / page * page);
}

char* map_pages(size_t bytes) {
  void* const data =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return data == MAP_FAILED ? nullptr : static_cast<char*>(data);
}

[[noreturn]] void fail_for_want_of_memory(size_t bytes) {
  throw NoMemory(concat("[memory] expected the system to give ", bytes, " bytes more than the ",
                        memory_pool().use().in_use,
                        " in use, it gave none. Use a smaller model, batch or sequence."));
}

}  // namespace

MemoryPool::~MemoryPool() {
  release();
}

void MemoryPool::add_free(char* begin, size_t bytes) {
  const auto after = free_.lower_bound(begin);
  if (after != free_.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second == begin) {
      begin = before->first;
      bytes += before->second;
      remove_free(before);
    }
  }
  if (after != free_.end() && begin + bytes == after->first) {
    bytes += after->second;
    remove_free(after);
  }
  free_.emplace(begin, bytes);
  free_by_size_.emplace(bytes, begin);
}

void MemoryPool::remove_free(std::map<char*, size_t>::iterator range) {
  free_by_size_.erase({range->second, range->first});
  free_.erase(range);
}

void MemoryPool::keep_at_most(size_t bytes) {
  bytes = bytes / page_size() * page_size();
  while (use_.kept > bytes) {
    // Of the smallest range that is enough its end, or else the largest one.
    const size_t excess = use_.kept - bytes;
    auto found = free_by_size_.lower_bound({excess, nullptr});
    if (found == free_by_size_.end()) found = std::prev(found);
    const auto [size, begin] = *found;
    const size_t gone = std::min(size, excess), left = size - gone;
    ASAN_UNPOISON_MEMORY_REGION(begin + left, gone);
    // It fails when the process has too many mappings to cut one in two: then it is kept.
    if (munmap(begin + left, gone) != 0) return;
    remove_free(free_.find(begin));
    if (left > 0) add_free(begin, left);
    use_.kept -= gone;
  }
}

void* MemoryPool::take(size_t bytes) {
  if (bytes > SIZE_MAX / 2) fail_for_want_of_memory(bytes);
  const size_t size = pages_for(bytes);
  std::unique_lock lock(mutex_);
  char* begin = nullptr;
  if (const auto best = free_by_size_.lower_bound({size, nullptr}); best != free_by_size_.end()) {
    const auto [free, at] = *best;
    begin = at;
    remove_free(free_.find(begin));
    if (free > size) add_free(begin + size, free - size);
    use_.kept -= size;
  } else {
    const size_t most = std::max(use_.most_in_use, use_.in_use + size);
    const auto limit = static_cast<size_t>(kKeptShare * static_cast<double>(most));
    keep_at_most(limit - (use_.in_use + size));
    begin = map_pages(size);
    if (!begin) {
      keep_at_most(0);
      begin = map_pages(size);
    }
    if (!begin) {
      lock.unlock();
      fail_for_want_of_memory(bytes);
    }
    use_.mapped += size;
  }
  taken_.emplace(begin, size);
  use_.in_use += size;
  use_.most_in_use = std::max(use_.most_in_use, use_.in_use);
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
  ASAN_POISON_MEMORY_REGION(begin + bytes, size - bytes);
  return begin;
}

bool MemoryPool::give_back(void* data) {
  const std::lock_guard lock(mutex_);
  const auto found = taken_.find(data);
  if (found == taken_.end()) return false;
  const size_t size = found->second;
  taken_.erase(found);
  ASAN_POISON_MEMORY_REGION(data, size);
  add_free(static_cast<char*>(data), size);
  use_.in_use -= size;
  use_.kept += size;
  return true;
}

MemoryUse MemoryPool::use() const {
  const std::lock_guard lock(mutex_);
  return use_;
}

void MemoryPool::release() {
  const std::lock_guard lock(mutex_);
  keep_at_most(0);
  use_.most_in_use = use_.in_use;
}

MemoryPool& memory_pool() {
  // Never destroyed: other threads may still give back at exit.
  static MemoryPool* const pool = [] {
    auto* const made = new MemoryPool;
    pthread_atfork([] { memory_pool().lock(); }, [] { memory_pool().unlock(); },
                   [] { memory_pool().unlock(); });
    return made;
  }();
  return *pool;
}

void* take_memory(size_t bytes) {
  if (bytes == 0) return nullptr;
  if (bytes >= kPooledBytes) return memory_pool().take(bytes);
  const size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, size);
  if (data) return data;
  memory_pool().release();
  data = std::aligned_alloc(kAlignment, size);
  if (!data) fail_for_want_of_memory(bytes);
  return data;
}

void give_back_memory(void* data) noexcept {
  // Only the pool's pieces begin a page for certain; of malloc's one in 64 does.
  const bool begins_page = reinterpret_cast<uintptr_t>(data) % page_size() == 0;
  if (begins_page && memory_pool().give_back(data)) return;
  std::free(data);
}

}  // namespace moe
