// AVX2 and FMA; bfloat16 is widened while it is packed.
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_avx2.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

const Kernels& avx2_kernels() {
  static const Kernels kernels = kernels_of<Avx2, Avx2Lanes>();
  return kernels;
}

}  // namespace moe::ops::cpu
