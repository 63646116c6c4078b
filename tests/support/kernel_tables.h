#pragma once
// The tables of kernels that this processor can run.

#include <string>
#include <utility>
#include <vector>

#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/kernels.h>

namespace moe::test {

/// All but libtorch's, by name, whatever MOE_CPU chose; and tiles in plain C++.
inline std::vector<std::pair<std::string, const ops::cpu::Kernels*>> kernel_tables() {
  using namespace ops::cpu;
  std::vector<std::pair<std::string, const Kernels*>> out;
  for (const auto set : available_instruction_sets())
    if (set != InstructionSet::kLibtorch) out.emplace_back(name_of(set), &kernels_of(set));
  out.emplace_back("plain tiles", &plain_tile_kernels());
  return out;
}

}  // namespace moe::test
