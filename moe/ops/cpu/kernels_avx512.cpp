// AVX-512 F, BW, VL and DQ; bfloat16 is widened while it is packed.
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_avx512.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

const Kernels& avx512_kernels() {
  static const Kernels kernels = kernels_of<Avx512, Avx512Lanes>();
  return kernels;
}

}  // namespace moe::ops::cpu
