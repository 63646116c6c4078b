#pragma once

#include <moe/base/memory.h>

namespace moe::ops::cpu {

/// Uninitialised memory on a 64-byte boundary for the length of a scope, from what the process
/// keeps (base/memory.h). Safe from any thread.
class Workspace {
 public:
  explicit Workspace(size_t bytes) : data_(take_memory(bytes)) {}
  ~Workspace() { give_back_memory(data_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
};

}  // namespace moe::ops::cpu
