// AVX2 and FMA; bfloat16 is widened while packing.
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_avx2.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

const Kernels& avx2_kernels() {
  static const Kernels kernels = {product_kernels<Avx2, FloatUnit<Avx2, float>>(),
                                  product_kernels<Avx2, FloatUnit<Avx2, BFloat16>>(),
                                  choice_kernels<Avx2Lanes>()};
  return kernels;
}

}  // namespace moe::ops::cpu
