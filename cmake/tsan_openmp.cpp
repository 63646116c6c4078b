// Part of the library in builds with -fsanitize=thread. The fork and the join of a parallel region
// order what stands before, in and behind it, but libgomp is not instrumented and waits in futex
// calls, so ThreadSanitizer would take every region for a race. This stands in front of libgomp's
// function and tells it of both. What it then reports between the threads of a region is one.

#include <dlfcn.h>

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags);
}

namespace {

using Parallel = decltype(&GOMP_parallel);

struct Region {
  void (*body)(void*);
  void* data;
  char fork = 0, join = 0;  // their addresses name the two moments
};

void run(void* of_region) {
  auto& region = *static_cast<Region*>(of_region);
  __tsan_acquire(&region.fork);
  region.body(region.data);
  __tsan_release(&region.join);
}

}  // namespace

void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags) {
  static const auto libgomps = reinterpret_cast<Parallel>(dlsym(RTLD_NEXT, "GOMP_parallel"));
  Region region{body, data};
  __tsan_release(&region.fork);
  libgomps(run, &region, threads, flags);
  __tsan_acquire(&region.join);
}
