#pragma once
// Which kernels run the grouped products of the CPU.

#include <string>
#include <vector>

#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

/// `kLibtorch` is one libtorch product an expert, the reference the kernels are compared with.
enum class InstructionSet { kLibtorch, kPortable, kAvx2, kAvx512, kAvx512Bf16 };

/// "libtorch", "portable", "avx2", "avx512", "avx512_bf16".
std::string name_of(InstructionSet set);
/// What this processor and build can run, the slowest first.
std::vector<InstructionSet> available_instruction_sets();
/// The one in use: the last available (libtorch's where only portable ones are), or the one that
/// the environment variable MOE_CPU names. Throws ConfigError for a name that is unknown or not
/// available here.
InstructionSet instruction_set();
/// Uses another one from now on; for tests and comparisons. Throws as above.
void use_instruction_set(InstructionSet set);
/// Of the set in use, which must not be kLibtorch.
const Kernels& kernels();

}  // namespace moe::ops::cpu
