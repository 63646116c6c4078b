#pragma once
// What must hold of every kind that has parameters: it can exist without memory.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/parameters/initialise.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::test {

/// `make(TensorOptions)` makes a module: without memory it has the same tensors, told of in the
/// same way, and once it has memory it starts with the same numbers as one that was made with it.
template <class Make>
void expect_lives_without_memory(const Make& make) {
  const auto direct = make(at::TensorOptions());
  const auto unfilled = make(at::TensorOptions(at::kMeta));
  const Parameters expected = tensors_of(*direct), found = tensors_of(*unfilled);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    SCOPED_TRACE(found[i].name);
    EXPECT_TRUE(found[i].tensor.is_meta());
    EXPECT_EQ(found[i].name, expected[i].name);
    EXPECT_EQ(found[i].tensor.sizes(), expected[i].tensor.sizes());
    EXPECT_EQ(found[i].tensor.scalar_type(), expected[i].tensor.scalar_type());
    EXPECT_EQ(found[i].tensor.requires_grad(), expected[i].tensor.requires_grad());
    EXPECT_EQ(found[i].info.role, expected[i].info.role);
    EXPECT_EQ(found[i].info.part, expected[i].info.part);
    EXPECT_EQ(found[i].info.per_expert, expected[i].info.per_expert);
    EXPECT_FALSE(found[i].info.keeps_start) << "nobody fills it";
  }
  materialise(*unfilled);
  for (const auto& module : {direct, unfilled})
    initialise(*module, {}, /*seed=*/7, /*depth=*/3, "layers.1.");
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_FALSE(found[i].tensor.is_meta()) << "other handles see the memory";
    EXPECT_TRUE(at::equal(found[i].tensor, expected[i].tensor)) << found[i].name;
  }
}

}  // namespace moe::test
