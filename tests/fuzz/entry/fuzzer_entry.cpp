// What libFuzzer calls: the target that MOE_FUZZ_TARGET names. A broken property ends the process
// with its message, which libFuzzer takes for a crash and saves the input of.

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    moe::fuzz::MOE_FUZZ_TARGET(std::as_bytes(std::span(data, size)));
  } catch (const moe::fuzz::BrokenProperty& broken) {
    std::fprintf(stderr, "broken property: %s\n", broken.what());
    std::abort();
  }
  return 0;
}
