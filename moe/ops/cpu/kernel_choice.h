#pragma once
// Which kernels run a product: a table by processor, type and rows, recorded from measurements. A
// function of the processor alone, never of a timing in this run: the same machine gives the same
// bits. No libtorch here.

#include <cstdint>

namespace moe::ops::cpu {

/// `kLibtorch` is one libtorch product an expert (oneDNN, MKL), which the kernels are compared
/// with.
enum class InstructionSet { kLibtorch, kPortable, kAvx2, kAvx512, kAvx512Bf16, kAmxBf16 };

enum class Vendor { kOther, kAmd, kIntel };

/// What a choice depends on. Features are what processor and operating system both have.
struct Processor {
  Vendor vendor = Vendor::kOther;
  bool x86 = false;
  bool avx2 = false;         ///< with FMA
  bool avx512 = false;       ///< F, BW, VL and DQ
  bool avx512_bf16 = false;  ///< vdpbf16ps
  bool amx_bf16 = false;     ///< tiles, allowed by the kernel
};

/// What a product multiplies: float32 activations (with weights of any format), or bfloat16 ones.
enum class ProductType { kFloat32, kBFloat16 };

/// Rows an expert that stand for "many".
inline constexpr int64_t kManyRows = int64_t{1} << 30;

/// Whether a processor can run a set; every one runs kLibtorch and kPortable.
bool can_run(const Processor& processor, InstructionSet set);

/// The set for products whose experts have `rows` rows on average. In float32 the same for any
/// number of rows, so that a row's bits do not depend on the rows beside it.
InstructionSet choose_kernels(const Processor& processor, ProductType type, int64_t rows);

}  // namespace moe::ops::cpu
