#pragma once
// Tests that run on every instruction set of this processor.

#include <optional>

#include <moe/ops/cpu/instruction_set.h>

namespace moe::test {

/// Operators use `set` for as long as this lives.
class WithInstructionSet {
 public:
  explicit WithInstructionSet(ops::cpu::InstructionSet set)
      : before_(ops::cpu::forced_instruction_set()) {
    ops::cpu::force_instruction_set(set);
  }
  ~WithInstructionSet() { ops::cpu::force_instruction_set(before_); }
  WithInstructionSet(const WithInstructionSet&) = delete;
  WithInstructionSet& operator=(const WithInstructionSet&) = delete;

 private:
  std::optional<ops::cpu::InstructionSet> before_;
};

}  // namespace moe::test
