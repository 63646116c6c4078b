#pragma once

#include <torch/nn/module.h>

#include <moe/parameters/list.h>

namespace moe {

/// The type of a parameter or buffer of a model in `dtype` (Undefined: as it was made). Floating
/// parameters take it. Float64 apart, what the choice of experts depends on step by step stays as
/// it was made, as in published models: buffers (a selection bias moves by steps that bfloat16 does
/// not hold) and of routers everything but the matrices. Whole numbers stay what they are.
at::ScalarType type_in(const Parameter& parameter, at::ScalarType dtype);

/// Gives memory, unfilled, on `device` to every parameter and buffer of `module` that has none
/// (those on the device "meta"), in type_in(…, dtype); all handles to them see it.
void materialise(torch::nn::Module& module, at::Device device = at::kCPU,
                 at::ScalarType dtype = at::ScalarType::Undefined);

/// Makes `parameter` be `memory` from here on, for every handle to it: type, device and storage are
/// those of `memory`, whose shape must be the same. For loaders that map a file or read straight
/// into place.
void set_memory(const Tensor& parameter, const Tensor& memory);

}  // namespace moe
