#include <moe/base/error.h>
#include <moe/ops/cpu/kernel_choice.h>

namespace moe::ops::cpu {

namespace {

/// Rows an expert from which on libtorch's tiles make products of bfloat16.
///
/// Measured on a Sapphire Rapids class Xeon, 2 cores, 2 threads, 2026-11-30:
/// - 1024 rows (train 4096·512·1024, 8 experts, 2 each): vdpbf16ps 390 ms, avx512 284, libtorch
/// 117,
///   that is 0.20, 0.27 and 0.66 TFLOP/s.
/// - 34 rows (forward 512·2048·1408, 60 experts, 4 each): libtorch 115 ms, 0.31 TFLOP/s, what
/// avx512
///   has at any number of rows that is not small.
/// - 4 rows (train 8192·256·256, 2048 experts, 1 each): vdpbf16ps took 0.29 of the time of the best
///   of libtorch's ways; 1 row (forward 8·2048·1408, 60, 4): 1.07.
/// Where the two cross lies near 34 rows; it was not measured row by row.
constexpr int64_t kTileRows = 32;

/// A line of the table: who it is for, and what runs there. The first line that fits counts.
struct Choice {
  /// Null: all.
  bool Processor::*feature;
  bool amd_only;
  bool bfloat16_only;
  int64_t rows_from;
  InstructionSet set;
};

constexpr Choice kChoices[] = {
    {&Processor::amx_bf16, false, true, kTileRows, InstructionSet::kLibtorch},
    // vdpbf16ps runs at twice the rate of float32 on Zen 4 (463 against 232 GFLOP/s on 2 cores) and
    // at half of it on Sapphire Rapids (236 against 471), where bfloat16 is widened to float32
    // instead (390 and 284 ms above). Not measured on other processors.
    {&Processor::avx512_bf16, true, true, 0, InstructionSet::kAvx512Bf16},
    // Float32, train 4096·512·1024, 8 experts, 2 each: 402 ms on Zen 4, where libtorch's MKL takes
    // 514 for the dense block; 260 on Sapphire Rapids against libtorch's 294.
    {&Processor::avx512, false, false, 0, InstructionSet::kAvx512},
    // The same on Zen 4: 420 ms in float32, and 445 in bfloat16, which is widened.
    {&Processor::avx2, false, false, 0, InstructionSet::kAvx2},
    // Processors of x86 without AVX2: not measured; MKL has loops of its own for them.
    {&Processor::x86, false, false, 0, InstructionSet::kLibtorch},
    // ARM and others: not measured; the compiler's own vectors.
    {nullptr, false, false, 0, InstructionSet::kPortable},
};

bool fits(const Choice& choice, const Processor& processor, ProductType type, int64_t rows) {
  return (!choice.feature || processor.*choice.feature) &&
         (!choice.amd_only || processor.vendor == Vendor::kAmd) &&
         (!choice.bfloat16_only || type == ProductType::kBFloat16) && rows >= choice.rows_from;
}

}  // namespace

bool can_run(const Processor& processor, InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx2:
      return processor.avx2;
    case InstructionSet::kAvx512:
      return processor.avx512;
    case InstructionSet::kAvx512Bf16:
      return processor.avx512 && processor.avx512_bf16;
    case InstructionSet::kAmxBf16:
      return processor.avx512 && processor.avx512_bf16 && processor.amx_bf16;
    case InstructionSet::kLibtorch:
    case InstructionSet::kPortable:
      return true;
  }
  return false;
}

InstructionSet choose_kernels(const Processor& processor, ProductType type, int64_t rows) {
  for (const Choice& choice : kChoices)
    if (fits(choice, processor, type, rows) && can_run(processor, choice.set)) return choice.set;
  fail("ops/cpu", "expected a choice of kernels for every processor, found none.");
}

}  // namespace moe::ops::cpu
