#include <cstdint>
#include <sys/mman.h>

#include <moe/base/memory_advice.h>

namespace moe {

void prefer_huge_pages(void* data, size_t bytes) {
#ifdef MADV_HUGEPAGE
  // Only whole huge pages of the range: one that reaches beyond would take memory that nobody
  // asked for.
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  const auto address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (address + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = (address + bytes) / kHugePage * kHugePage;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  static_cast<void>(data), static_cast<void>(bytes);
#endif
}

}  // namespace moe
