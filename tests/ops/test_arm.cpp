// What 64-bit ARM runs; scripts/test_arm.sh compiles this for it, and runs it under emulation.
#include <vector>

#include <gtest/gtest.h>

#include <moe/ops/cpu/instruction_set.h>

namespace moe::ops::cpu::arm_test {

namespace {

TEST(Arm, RunsThePortableKernels) {
  const Processor arm;
  EXPECT_FALSE(can_run(arm, InstructionSet::kAvx2));
  for (const auto type : {ProductType::kFloat32, ProductType::kBFloat16})
    for (const int64_t rows : {int64_t{1}, int64_t{64}, kManyRows})
      EXPECT_EQ(choose_kernels(arm, type, rows), InstructionSet::kPortable);
#if defined(__aarch64__)
  EXPECT_FALSE(this_processor().x86);
  EXPECT_EQ(available_instruction_sets(),
            (std::vector{InstructionSet::kLibtorch, InstructionSet::kPortable}));
  EXPECT_EQ(&kernels(ProductType::kFloat32), &portable_kernels());
  EXPECT_EQ(&kernels(ProductType::kBFloat16, kManyRows), &portable_kernels());
  EXPECT_EQ(instruction_sets_in_use(), "portable");
#endif
}

}  // namespace

}  // namespace moe::ops::cpu::arm_test
