// The tiles of AMX on any processor, slowly: what tests compare with.
#include <moe/ops/cpu/amx/plain_tiles.h>
#include <moe/ops/cpu/amx/products.h>
#include <moe/ops/cpu/simd/choice.h>
#include <moe/ops/cpu/simd/lanes_portable.h>
#include <moe/ops/cpu/simd/table.h>

namespace moe::ops::cpu {

const Kernels& plain_tile_kernels() {
  static const Kernels kernels = [] {
    Kernels out = kernels_of<Portable, PortableLanes>();
    out.tiles = tile_kernels<PlainTiles, Portable>();
    return out;
  }();
  return kernels;
}

}  // namespace moe::ops::cpu
