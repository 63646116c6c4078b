#pragma once
// The kernels in use: those of kernel_choice.h for this processor, or a set that is forced.

#include <optional>
#include <string>
#include <vector>

#include <moe/ops/cpu/kernel_choice.h>
#include <moe/ops/cpu/kernels.h>

namespace moe::ops::cpu {

/// This one, asked once.
const Processor& this_processor();

/// "libtorch", "portable", "avx2", "avx512", "avx512_bf16", "amx_bf16".
std::string name_of(InstructionSet set);
/// What this processor and build can run, the narrowest first.
std::vector<InstructionSet> available_instruction_sets();

/// The set that runs products of `type` whose experts have `rows` rows on average: the forced one,
/// or choose_kernels'. Throws ConfigError where MOE_CPU names a set that is unknown or not
/// available here.
InstructionSet instruction_set(ProductType type = ProductType::kFloat32, int64_t rows = kManyRows);
/// For people: the set, or where types or rows differ which runs what: "avx512, bfloat16:
/// avx512_bf16".
std::string instruction_sets_in_use();

/// The set that runs everything, whatever type and rows: the one that the environment variable
/// MOE_CPU named at first, none without it. Throws as above.
std::optional<InstructionSet> forced_instruction_set();
/// Forces another one from now on, or none; for tests and comparisons. Throws as above.
void force_instruction_set(std::optional<InstructionSet> set);

/// The loops of a set that this processor has; not kLibtorch.
const Kernels& kernels_of(InstructionSet set);
/// Products of rows of type T.
template <class T>
inline constexpr ProductType kProductOf = ProductType::kFloat32;
template <>
inline constexpr ProductType kProductOf<BFloat16> = ProductType::kBFloat16;

/// Those that run what libtorch does not: of the set for products of `type` whose experts have
/// `rows` rows on average. The portable ones where that is libtorch.
const Kernels& kernels(ProductType type = ProductType::kFloat32, int64_t rows = 1);

}  // namespace moe::ops::cpu
