#pragma once
// Memory with a forbidden page on either side: touching one element too many ends the program.

#include <cstddef>
#include <cstdint>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include <moe/base/error.h>

namespace moe::test {

/// `count` elements that end (or, with `at_start`, begin) at the edge of a page.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t count, bool at_start = false) : count_(count) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t inside = (count * sizeof(T) + page - 1) / page * page;
    bytes_ = inside + 2 * page;
    void* const map =
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(map != MAP_FAILED, "tests/guarded", "expected ", bytes_, " bytes of memory, got none.");
    map_ = static_cast<uint8_t*>(map);
    mprotect(map_, page, PROT_NONE);
    mprotect(map_ + page + inside, page, PROT_NONE);
    uint8_t* const end = map_ + page + inside;
    data_ = reinterpret_cast<T*>(at_start ? map_ + page : end - count * sizeof(T));
  }
  ~Guarded() { munmap(map_, bytes_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + count_; }

 private:
  size_t count_, bytes_;
  uint8_t* map_;
  T* data_;
};

}  // namespace moe::test
