#include <c10/core/CPUAllocator.h>

#include <moe/base/memory.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace moe {

namespace {

struct PoolAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* const data = take_memory(bytes);
    return {data, data, &give_back_memory, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back_memory; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

}  // namespace

void keep_freed_memory() {
#ifdef __GLIBC__
  // What does not come through the allocator: buffers of libtorch's libraries and the many small
  // tensors, whose pages at the top of the heap would otherwise come and go.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 1 << 26);
#endif
  static PoolAllocator* const allocator = new PoolAllocator;  // libtorch keeps the pointer
  c10::SetCPUAllocator(allocator);
}

}  // namespace moe
