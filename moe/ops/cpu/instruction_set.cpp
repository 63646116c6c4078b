#include <algorithm>
#include <atomic>
#include <cstdlib>

#include <moe/base/error.h>
#include <moe/ops/cpu/instruction_set.h>

namespace moe::ops::cpu {

namespace {

constexpr std::string_view kPlace = "ops/cpu";

std::vector<std::string> available_names() {
  std::vector<std::string> names;
  for (const auto set : available_instruction_sets()) names.push_back(name_of(set));
  return names;
}

InstructionSet chosen_by_environment() {
  const auto sets = available_instruction_sets();
  const char* const wanted = std::getenv("MOE_CPU");
  // Nobody measured the portable kernels against libtorch's products on a processor without AVX2.
  if (!wanted || !*wanted)
    return sets.back() == InstructionSet::kPortable ? InstructionSet::kLibtorch : sets.back();
  for (const auto set : sets)
    if (name_of(set) == wanted) return set;
  fail<ConfigError>(kPlace, "expected MOE_CPU to be one of ", join(available_names()),
                    " (what this processor has), got '", wanted, "'.",
                    did_you_mean(wanted, available_names()));
}

/// The choice of the process; read from the environment once.
std::atomic<InstructionSet>& current() {
  static std::atomic<InstructionSet> set = chosen_by_environment();
  return set;
}

}  // namespace

std::string name_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::kLibtorch:
      return "libtorch";
    case InstructionSet::kPortable:
      return "portable";
    case InstructionSet::kAvx2:
      return "avx2";
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAvx512Bf16:
      return "avx512_bf16";
  }
  return "unknown";
}

std::vector<InstructionSet> available_instruction_sets() {
  std::vector<InstructionSet> sets = {InstructionSet::kLibtorch, InstructionSet::kPortable};
#ifdef MOE_X86_KERNELS
  // The builtin also asks whether the operating system saves the wide registers.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    sets.push_back(InstructionSet::kAvx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    sets.push_back(InstructionSet::kAvx512);
    if (__builtin_cpu_supports("avx512bf16")) sets.push_back(InstructionSet::kAvx512Bf16);
  }
#endif
  return sets;
}

InstructionSet instruction_set() {
  return current();
}

void use_instruction_set(InstructionSet set) {
  const auto sets = available_instruction_sets();
  check<ConfigError>(std::find(sets.begin(), sets.end(), set) != sets.end(), kPlace,
                     "expected one of ", join(available_names()), ", got ", name_of(set),
                     ". Use one that this processor has.");
  current() = set;
}

const Kernels& kernels() {
  switch (instruction_set()) {
#ifdef MOE_X86_KERNELS
    case InstructionSet::kAvx2:
      return avx2_kernels();
    case InstructionSet::kAvx512:
      return avx512_kernels();
    case InstructionSet::kAvx512Bf16:
      return avx512_bf16_kernels();
#endif
    default:
      return portable_kernels();
  }
}

}  // namespace moe::ops::cpu
