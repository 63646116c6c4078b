#pragma once

#include <torch/nn/module.h>

#include <moe/parameters/info.h>

namespace moe {

/// Gives memory, unfilled, on `device` to every parameter and buffer of `module` that has none
/// (those on the device "meta"); all handles to them see it. Floating parameters come as `dtype`
/// (Undefined: as they were made), buffers as they were made, but as float64 beside float64
/// parameters.
void materialise(torch::nn::Module& module, at::Device device = at::kCPU,
                 at::ScalarType dtype = at::ScalarType::Undefined);

/// Makes `parameter` be `memory` from here on, for every handle to it: type, device and storage are
/// those of `memory`, whose shape must be the same. For loaders that map a file or read straight
/// into place.
void set_memory(const Tensor& parameter, const Tensor& memory);

}  // namespace moe
