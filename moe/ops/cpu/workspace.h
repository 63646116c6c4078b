#pragma once
// Memory that the kernels use again and again: the first touch of fresh memory costs ten times what
// writing it again does.

#include <cstddef>

namespace moe::ops::cpu {

/// Uninitialised memory on a 64-byte boundary, back to the pool of the process at the end. The pool
/// keeps no more than was ever in use at one time. Safe from any thread.
class Workspace {
 public:
  explicit Workspace(size_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
  size_t bytes_;
};

}  // namespace moe::ops::cpu
