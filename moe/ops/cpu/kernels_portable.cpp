// Any processor; bfloat16 is widened while it is packed.
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_portable.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

const Kernels& portable_kernels() {
  static const Kernels kernels = kernels_of<Portable, PortableLanes>();
  return kernels;
}

}  // namespace moe::ops::cpu
