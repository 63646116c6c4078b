#include <algorithm>
#include <atomic>
#include <cstdlib>

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <moe/base/error.h>
#include <moe/ops/cpu/instruction_set.h>

namespace moe::ops::cpu {

namespace {

constexpr std::string_view kPlace = "ops/cpu";
constexpr InstructionSet kAllSets[] = {InstructionSet::kLibtorch,   InstructionSet::kPortable,
                                       InstructionSet::kAvx2,       InstructionSet::kAvx512,
                                       InstructionSet::kAvx512Bf16, InstructionSet::kAmxBf16};
/// What stands for no forced set.
constexpr int kNone = -1;

#ifdef MOE_X86_KERNELS
/// Whether the kernel lets this process use the memory of tiles, which it must be asked for before
/// the first instruction on them; threads have it from then on.
bool tiles_are_allowed() {
#if defined(__linux__) && defined(__x86_64__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

/// The builtins also ask whether the operating system saves the wide registers.
Processor find_processor() {
  Processor out;
  out.x86 = true;
  out.vendor = __builtin_cpu_is("amd")     ? Vendor::kAmd
               : __builtin_cpu_is("intel") ? Vendor::kIntel
                                           : Vendor::kOther;
  out.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  out.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  out.avx512_bf16 = out.avx512 && __builtin_cpu_supports("avx512bf16");
  out.amx_bf16 = __builtin_cpu_supports("amx-bf16") && tiles_are_allowed();
  return out;
}
#else
Processor find_processor() {
  return {};
}
#endif

std::vector<std::string> available_names() {
  std::vector<std::string> names;
  for (const auto set : available_instruction_sets()) names.push_back(name_of(set));
  return names;
}

int forced_by_environment() {
  const char* const wanted = std::getenv("MOE_CPU");
  if (!wanted || !*wanted) return kNone;
  for (const auto set : available_instruction_sets())
    if (name_of(set) == wanted) return static_cast<int>(set);
  fail<ConfigError>(kPlace, "expected MOE_CPU to be one of ", join(available_names()),
                    " (what this processor has), got '", wanted, "'.",
                    did_you_mean(wanted, available_names()));
}

/// Of the process; the environment is read once.
std::atomic<int>& forced() {
  static std::atomic<int> set = forced_by_environment();
  return set;
}

}  // namespace

const Processor& this_processor() {
  static const Processor processor = find_processor();
  return processor;
}

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
    case InstructionSet::kAmxBf16:
      return "amx_bf16";
  }
  return "unknown";
}

std::vector<InstructionSet> available_instruction_sets() {
  std::vector<InstructionSet> sets;
  for (const auto set : kAllSets)
    if (can_run(this_processor(), set)) sets.push_back(set);
  return sets;
}

InstructionSet instruction_set(ProductType type, int64_t rows) {
  const int set = forced();
  return set != kNone ? static_cast<InstructionSet>(set)
                      : choose_kernels(this_processor(), type, rows);
}

std::string instruction_sets_in_use() {
  std::string out = name_of(instruction_set());
  const auto many = instruction_set(ProductType::kBFloat16),
             few = instruction_set(ProductType::kBFloat16, 1);
  if (many != instruction_set()) out += ", bfloat16: " + name_of(many);
  if (few != many) out += ", " + name_of(few) + " for experts of few rows";
  return out;
}

std::optional<InstructionSet> forced_instruction_set() {
  const int set = forced();
  return set != kNone ? std::optional(static_cast<InstructionSet>(set)) : std::nullopt;
}

void force_instruction_set(std::optional<InstructionSet> set) {
  const auto sets = available_instruction_sets();
  check<ConfigError>(!set || std::find(sets.begin(), sets.end(), *set) != sets.end(), kPlace,
                     "expected one of ", join(available_names()), ", got ",
                     set ? name_of(*set) : "none", ". Use one that this processor has.");
  forced() = set ? static_cast<int>(*set) : kNone;
}

const Kernels& kernels_of(InstructionSet set) {
  switch (set) {
#ifdef MOE_X86_KERNELS
    case InstructionSet::kAvx2:
      return avx2_kernels();
    case InstructionSet::kAvx512:
      return avx512_kernels();
    case InstructionSet::kAvx512Bf16:
      return avx512_bf16_kernels();
    case InstructionSet::kAmxBf16:
      return amx_bf16_kernels();
#endif
    default:
      return portable_kernels();
  }
}

const Kernels& kernels(ProductType type, int64_t rows) {
  return kernels_of(instruction_set(type, rows));
}

}  // namespace moe::ops::cpu
