// What the machine can do at most: sense, never speed.
#include <gtest/gtest.h>

#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/peak.h>

namespace moe::ops::cpu::peak_test {

namespace {

TEST(Peak, LimitsAreMeasuredWhateverKernelsAreInUse) {
  const auto before = instruction_set();
  use_instruction_set(InstructionSet::kPortable);
  const MachineLimits limits = measured_limits();
  EXPECT_EQ(instruction_set(), InstructionSet::kPortable);
  use_instruction_set(before);
  EXPECT_GT(limits.float32, 0);
  EXPECT_GT(limits.read, 0);
  EXPECT_EQ(limits.bfloat16 > 0,
            available_instruction_sets().back() == InstructionSet::kAvx512Bf16);
}

TEST(Peak, ATypeWithoutAnInstructionIsWidened) {
  const MachineLimits with{.float32 = 3, .bfloat16 = 7, .int8 = 11, .read = 1};
  const MachineLimits without{.float32 = 3, .bfloat16 = 0, .int8 = 0, .read = 1};
  EXPECT_EQ(with.peak(at::kFloat), 3);
  EXPECT_EQ(with.peak(at::kBFloat16), 7);
  EXPECT_EQ(without.peak(at::kBFloat16), 3);
  EXPECT_EQ(with.peak(at::kDouble), 0);
}

TEST(Peak, TheSystemSaysWhatMemoryIsLeft) {
  EXPECT_NE(available_memory(), 0);
}

}  // namespace

}  // namespace moe::ops::cpu::peak_test
