#pragma once
// What the operators on the CPU's own loops share.

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/instruction_set.h>

namespace moe::ops::cpu {

/// Whether the loops take such rows: float32 on the CPU, unless libtorch's operators are forced or
/// faster here (instruction_set.h).
inline bool loops_take(const Tensor& rows) {
  return rows.is_cpu() && rows.scalar_type() == at::kFloat &&
         instruction_set(ProductType::kFloat32) != InstructionSet::kLibtorch;
}

/// Whether anything is to be kept for a backward pass; undefined tensors count for nothing.
inline bool wants_gradients(std::initializer_list<Tensor> tensors) {
  return at::GradMode::is_enabled() &&
         std::any_of(tensors.begin(), tensors.end(), [](const Tensor& tensor) {
           return tensor.defined() && tensor.requires_grad();
         });
}

/// For backward passes that write memory and leave no graph behind.
inline void refuse_second_derivatives(std::string_view place) {
  check(!at::GradMode::is_enabled(), place,
        "expected a backward pass without create_graph, got one with it: these loops have no "
        "second derivative. Set MOE_CPU=libtorch, or use float64.");
}

}  // namespace moe::ops::cpu
