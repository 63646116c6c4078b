// Modules without memory, and how they get it.
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <moe/parameters/initialise.h>
#include <moe/parameters/materialise.h>

#include "tests/parameters/modules.h"
#include "tests/support/compare.h"
#include "tests/support/message_of.h"

namespace moe::test {
namespace {

TEST(Materialise, GivesMemoryInPlaceToEveryHandle) {
  Leaf leaf(at::kMeta);
  const Tensor handle = leaf.named_parameters()["matrix"];
  ASSERT_TRUE(handle.is_meta());
  materialise(leaf);
  EXPECT_FALSE(handle.is_meta());
  EXPECT_TRUE(handle.requires_grad());
  const at::NoGradGuard no_grad;
  handle.fill_(3);
  EXPECT_TRUE(leaf.named_parameters()["matrix"].eq(3).all().item<bool>());
  EXPECT_EQ(handle.unsafeGetTensorImpl(), leaf.named_parameters()["matrix"].unsafeGetTensorImpl());
}

TEST(Materialise, TakesTheTypeForParametersAndLeavesBuffers) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    Leaf leaf(at::kMeta);
    materialise(leaf, at::kCPU, type);
    EXPECT_EQ(leaf.named_parameters()["gain"].scalar_type(), type);
    EXPECT_EQ(leaf.named_buffers()["counts"].scalar_type(), at::kLong);
    EXPECT_EQ(leaf.named_buffers()["drift"].scalar_type(),
              type == at::kDouble ? at::kDouble : at::kFloat);
  }
}

TEST(Materialise, OfRoutersNarrowsMatricesAlone) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
    Leaf router(at::kMeta, Part::kRouter);
    materialise(router, at::kCPU, type);
    const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
    const auto parameters = router.named_parameters();
    EXPECT_EQ(parameters["scores"].scalar_type(), type);
    EXPECT_EQ(parameters["matrix"].scalar_type(), type);
    EXPECT_EQ(parameters["offset"].scalar_type(), wide);
    EXPECT_EQ(parameters["gain"].scalar_type(), wide);
    EXPECT_EQ(router.named_buffers()["drift"].scalar_type(), wide);
    EXPECT_EQ(router.named_buffers()["counts"].scalar_type(), at::kLong);
  }
}

TEST(Materialise, LeavesWhatHasMemoryAlone) {
  Leaf leaf;
  const void* const before = leaf.named_parameters()["matrix"].const_data_ptr();
  materialise(leaf, at::kCPU, at::kDouble);
  EXPECT_EQ(leaf.named_parameters()["matrix"].const_data_ptr(), before);
}

TEST(Materialise, KeepsTensorsOfTwoNamesOne) {
  Tree tree(at::kMeta);
  materialise(tree);
  EXPECT_EQ(tree.named_parameters(false)["tied"].const_data_ptr(),
            tree.parameters(false).front().const_data_ptr());
  for (const auto& parameter : tensors_of(tree))
    EXPECT_FALSE(parameter.tensor.is_meta()) << parameter.name;
}

TEST(Materialise, AMetaModuleGetsTheNumbersOfADirectOne) {
  Leaf direct, later(at::kMeta);
  initialise(direct, {}, 5, 3, "stem.");
  materialise(later);
  initialise(later, {}, 5, 3, "stem.");
  const auto a = tensors_of(direct), b = tensors_of(later);
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    expect_identical(b[i].tensor.detach(), a[i].tensor.detach(), a[i].name);
  }
}

TEST(SetMemory, MakesAParameterBeTheMemory) {
  const Tensor parameter = at::empty({2, 3}, at::kMeta).set_requires_grad(true);
  const Tensor handle = parameter, memory = at::full({2, 3}, 4, at::kBFloat16);
  set_memory(parameter, memory);
  EXPECT_EQ(handle.const_data_ptr(), memory.const_data_ptr());
  EXPECT_EQ(handle.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(handle.requires_grad());
  EXPECT_ERROR(set_memory(parameter, at::empty({3, 2})), "expected memory of shape [2, 3]");
}

}  // namespace
}  // namespace moe::test
