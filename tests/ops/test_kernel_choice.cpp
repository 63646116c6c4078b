// Which kernels run a product, on processors that are not here too.
#include <vector>

#include <gtest/gtest.h>

#include <moe/ops/cpu/kernel_choice.h>
#include <moe/ops/cpu/libtorch_products.h>

namespace moe::ops::cpu::kernel_choice_test {

namespace {

constexpr auto kFloat32 = ProductType::kFloat32, kBFloat16 = ProductType::kBFloat16;

constexpr Processor kZen3{.vendor = Vendor::kAmd, .x86 = true, .avx2 = true};
constexpr Processor kZen4{
    .vendor = Vendor::kAmd, .x86 = true, .avx2 = true, .avx512 = true, .avx512_bf16 = true};
constexpr Processor kHaswell{.vendor = Vendor::kIntel, .x86 = true, .avx2 = true};
constexpr Processor kSkylake{.vendor = Vendor::kIntel, .x86 = true, .avx2 = true, .avx512 = true};
/// The same with its tiles hidden by a hypervisor or refused by the kernel.
constexpr Processor kSapphireRapidsWithoutTiles{
    .vendor = Vendor::kIntel, .x86 = true, .avx2 = true, .avx512 = true, .avx512_bf16 = true};
constexpr Processor kSapphireRapids{.vendor = Vendor::kIntel,
                                    .x86 = true,
                                    .avx2 = true,
                                    .avx512 = true,
                                    .avx512_bf16 = true,
                                    .amx_bf16 = true};
constexpr Processor kOldX86{.vendor = Vendor::kIntel, .x86 = true};
constexpr Processor kArm{};

const std::vector<Processor> kAll = {
    kZen3, kZen4, kHaswell, kSkylake, kSapphireRapidsWithoutTiles, kSapphireRapids, kOldX86, kArm};
const std::vector<int64_t> kRows = {0, 1, 2, 8, 31, 32, 64, 1024, kManyRows};

void expect_for_any_rows(const Processor& processor, ProductType type, InstructionSet set) {
  for (const int64_t rows : kRows) EXPECT_EQ(choose_kernels(processor, type, rows), set) << rows;
}

TEST(KernelChoice, TakesPairsOfBFloat16WhereTheyAreFast) {
  expect_for_any_rows(kZen4, kBFloat16, InstructionSet::kAvx512Bf16);
  expect_for_any_rows(kZen4, kFloat32, InstructionSet::kAvx512);
}

TEST(KernelChoice, WidensBFloat16OnIntelWithoutTiles) {
  expect_for_any_rows(kSapphireRapidsWithoutTiles, kBFloat16, InstructionSet::kAvx512);
  expect_for_any_rows(kSkylake, kBFloat16, InstructionSet::kAvx512);
  expect_for_any_rows(kHaswell, kBFloat16, InstructionSet::kAvx2);
  expect_for_any_rows(kZen3, kBFloat16, InstructionSet::kAvx2);
}

TEST(KernelChoice, TakesLibtorchsTilesForManyRowsOfBFloat16) {
  EXPECT_EQ(choose_kernels(kSapphireRapids, kBFloat16, 1024), InstructionSet::kLibtorch);
  EXPECT_EQ(choose_kernels(kSapphireRapids, kBFloat16, kManyRows), InstructionSet::kLibtorch);
  for (const int64_t rows : {0, 1, 4})
    EXPECT_EQ(choose_kernels(kSapphireRapids, kBFloat16, rows), InstructionSet::kAvx512) << rows;
  expect_for_any_rows(kSapphireRapids, kFloat32, InstructionSet::kAvx512);
}

TEST(KernelChoice, TrustsLibtorchWithProductsIn16BitsWhereItHasOneDnnsOfAvx512) {
  for (const auto& processor : {kZen3, kHaswell, kOldX86})
    EXPECT_FALSE(libtorch_multiplies_16_bits(processor));
  for (const auto& processor :
       {kZen4, kSkylake, kSapphireRapidsWithoutTiles, kSapphireRapids, kArm})
    EXPECT_TRUE(libtorch_multiplies_16_bits(processor));
}

TEST(KernelChoice, HasSomethingForProcessorsThatWereNotMeasured) {
  for (const auto type : {kFloat32, kBFloat16}) {
    expect_for_any_rows(kArm, type, InstructionSet::kPortable);
    expect_for_any_rows(kOldX86, type, InstructionSet::kLibtorch);
  }
}

TEST(KernelChoice, InFloat32DoesNotDependOnRows) {
  for (const Processor& processor : kAll)
    expect_for_any_rows(processor, kFloat32, choose_kernels(processor, kFloat32, 1));
}

TEST(KernelChoice, IsAlwaysASetThatTheProcessorCanRun) {
  for (const Processor& processor : kAll)
    for (const auto type : {kFloat32, kBFloat16})
      for (const int64_t rows : kRows)
        EXPECT_TRUE(can_run(processor, choose_kernels(processor, type, rows)));
  EXPECT_FALSE(can_run(kZen3, InstructionSet::kAvx512));
  EXPECT_FALSE(can_run(kSkylake, InstructionSet::kAvx512Bf16));
  EXPECT_TRUE(can_run(kArm, InstructionSet::kPortable));
}

}  // namespace

}  // namespace moe::ops::cpu::kernel_choice_test
