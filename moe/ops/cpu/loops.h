#pragma once
// What the operators on ChoiceKernels share.

#include <string_view>

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/grouped.h>

namespace moe::ops::cpu {

/// Whether the loops take such rows: float32 on the CPU, unless libtorch's operators are asked for
/// (instruction_set.h).
inline bool loops_take(const Tensor& rows) {
  return rows.scalar_type() == at::kFloat && takes(rows);
}

/// For backward passes that write memory and leave no graph behind.
inline void refuse_second_derivatives(std::string_view place) {
  check(!at::GradMode::is_enabled(), place,
        "expected a backward pass without create_graph, got one with it: these loops have no "
        "second derivative. Set MOE_CPU=libtorch, or use float64.");
}

}  // namespace moe::ops::cpu
