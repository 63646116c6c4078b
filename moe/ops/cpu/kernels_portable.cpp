// Any processor; bfloat16 is widened while packing.
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_portable.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

const Kernels& portable_kernels() {
  static const Kernels kernels = {product_kernels<Portable, FloatUnit<Portable, float>>(),
                                  product_kernels<Portable, FloatUnit<Portable, BFloat16>>(),
                                  choice_kernels<PortableLanes>()};
  return kernels;
}

}  // namespace moe::ops::cpu
