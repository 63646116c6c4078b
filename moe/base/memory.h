#pragma once
// Memory that is used again and again: the first touch of a fresh page costs ten times what writing
// it again does (docs/design/005-memory.md).

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

namespace moe {

/// The system gave no memory, not even after all that was kept went back to it.
class NoMemory : public std::bad_alloc {
 public:
  explicit NoMemory(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

/// What a pool holds, in bytes of whole pages.
struct MemoryUse {
  size_t in_use = 0;
  /// The most that was in use at once, since the pool was made or last released.
  size_t most_in_use = 0;
  /// Given back, and kept for whoever takes next.
  size_t kept = 0;
  /// Ever got from the system: stands still when nothing fresh is handed out.
  uint64_t mapped = 0;
};

/// Whole pages from the system, kept when they are given back. A request takes the front of the
/// smallest kept range that holds it; neighbours that are free become one range. Nothing is handed
/// out but what was asked for, rounded up to pages.
///
/// in_use + kept is at most kKeptShare times most_in_use, so that a process grows little beyond
/// what it needed at once. Safe from any thread.
class MemoryPool {
 public:
  static constexpr double kKeptShare = 1.25;

  MemoryPool() = default;
  /// What is still in use then stays with its users for ever.
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// Uninitialised memory that begins a page. Throws NoMemory.
  void* take(size_t bytes);
  /// False, and nothing done, when `data` is none that `take` gave.
  bool give_back(void* data);

  MemoryUse use() const;
  /// Gives all that is kept to the system; the most in use is then what is in use now.
  void release();

  /// Holds the pool's lock around fork(), so that the child can use it.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  void add_free(char* begin, size_t bytes);
  void remove_free(std::map<char*, size_t>::iterator range);
  /// Unmaps kept ranges until at most `bytes` are kept.
  void keep_at_most(size_t bytes);

  mutable std::mutex mutex_;
  std::unordered_map<void*, size_t> taken_;
  std::map<char*, size_t> free_;                     // ranges by address; no two touch
  std::set<std::pair<size_t, char*>> free_by_size_;  // the same
  MemoryUse use_;
};

/// The process's pool; it is never destroyed.
MemoryPool& memory_pool();

/// From here on it pays to keep whole pages; smaller pieces are malloc's.
inline constexpr size_t kPooledBytes = size_t{64} << 10;

/// Uninitialised memory on a 64-byte boundary: from the process's pool, or malloc where it is less
/// than kPooledBytes. Null for 0 bytes. Throws NoMemory, after the pool has been released in vain.
void* take_memory(size_t bytes);
/// Gives back what `take_memory` gave, or nothing for null.
void give_back_memory(void* data) noexcept;

/// Makes take_memory the allocator of libtorch's CPU tensors and tells malloc (glibc's) not to
/// return what is freed: after its first steps a training touches no fresh memory.
///
/// It changes the whole process and cannot be undone, so libraries leave it to programs: `moe`
/// calls it first of all. Call it before other threads make tensors; those made before are freed as
/// they would have been. `memory_pool().release()` returns what is kept.
void keep_freed_memory();

}  // namespace moe
