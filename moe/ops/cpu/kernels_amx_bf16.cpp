// AMX: products of bfloat16 on tiles, all else as with AVX-512.
#include <moe/ops/cpu/amx/amx_tiles.h>
#include <moe/ops/cpu/amx/products.h>
#include <moe/ops/cpu/simd/avx512_bf16.h>
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_avx512.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

const Kernels& amx_bf16_kernels() {
  static const Kernels kernels = [] {
    Kernels out = kernels_of<Avx512Bf16, Avx512Lanes>();
    out.tiles = tile_kernels<AmxTiles, Avx512Bf16>();
    return out;
  }();
  return kernels;
}

}  // namespace moe::ops::cpu
