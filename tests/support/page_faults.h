#pragma once
// Fresh memory, counted by the kernel: the first touch of a page is a fault.

#include <cstdint>
#include <cstring>
#include <sys/mman.h>
#include <sys/resource.h>

#include <gtest/gtest.h>

namespace moe::test {

/// Pages this process has touched for the first time.
inline int64_t page_faults() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return use.ru_minflt;
}

/// Touches `pages` pages of memory that nobody had.
inline void touch_fresh_pages(size_t pages) {
  const size_t bytes = pages * 4096;
  void* const data =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(data, MAP_FAILED);
  std::memset(data, 1, bytes);
  munmap(data, bytes);
}

/// Why page faults prove nothing in this build, or nullptr.
inline const char* no_page_faults_here() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return "a sanitizer's own memory makes faults of its own";
#else
  return nullptr;
#endif
}

}  // namespace moe::test
