// What the machine can do at most: sense, never speed.
#include <filesystem>
#include <sys/sysinfo.h>
#include <tests/support/instruction_sets.h>

#include <gtest/gtest.h>

#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/peak.h>

namespace moe::ops::cpu::peak_test {

namespace {

TEST(Peak, LimitsAreMeasuredWhateverKernelsAreInUse) {
  const moe::test::WithInstructionSet portable(InstructionSet::kPortable);
  const MachineLimits limits = measured_limits();
  EXPECT_GT(limits.float32, 0);
  EXPECT_GT(limits.read, 0);
  EXPECT_EQ(limits.bfloat16 > 0,
            kernels_of(available_instruction_sets().back()).pairs.rows > 0 ||
                kernels_of(available_instruction_sets().back()).tiles.rows > 0);
  EXPECT_GT(measured_peak(at::kFloat), 0);
  EXPECT_EQ(measured_peak(at::kDouble), 0);
  const moe::test::WithInstructionSet libtorch(InstructionSet::kLibtorch);
  EXPECT_EQ(measured_peak(at::kFloat), 0);
}

TEST(Peak, ATypeWithoutAnInstructionIsWidened) {
  const MachineLimits with{.float32 = 3, .bfloat16 = 7, .int8 = 11, .read = 1};
  const MachineLimits without{.float32 = 3, .bfloat16 = 0, .int8 = 0, .read = 1};
  EXPECT_EQ(with.peak(at::kFloat), 3);
  EXPECT_EQ(with.peak(at::kBFloat16), 7);
  EXPECT_EQ(without.peak(at::kBFloat16), 3);
  // An instruction that is slower than float32's is no reason to be slow.
  EXPECT_EQ((MachineLimits{.float32 = 3, .bfloat16 = 2}).peak(at::kBFloat16), 3);
  EXPECT_EQ(with.peak(at::kDouble), 0);
}

TEST(Peak, TheSystemSaysWhatMemoryIsLeft) {
  const int64_t available = available_memory();
  if (!std::filesystem::exists("/proc/meminfo")) {
    EXPECT_EQ(available, -1);
    return;
  }
  struct sysinfo system = {};
  ASSERT_EQ(sysinfo(&system), 0);
  const auto bytes = [&](uint64_t units) { return static_cast<int64_t>(units * system.mem_unit); };
  EXPECT_LE(available, bytes(system.totalram));
  // What can be had is what is free, less a reserve, and what caches would give back.
  EXPECT_GE(available, bytes(system.freeram) / 2);
}

}  // namespace

}  // namespace moe::ops::cpu::peak_test
