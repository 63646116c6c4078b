#pragma once
// The most memory that this process has had at once.

#include <cstdint>
#include <fstream>
#include <malloc.h>
#include <string>

#include <moe/base/memory.h>

namespace moe::test {

/// Bytes that were resident at most since `forget_peak`; -1 where the system does not say.
inline int64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  return -1;
}

/// Begins anew; false where the system does not let a process do so. What earlier tests freed is
/// given back first: taken again, it would not count.
inline bool forget_peak() {
  memory_pool().release();
  malloc_trim(0);
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

}  // namespace moe::test
