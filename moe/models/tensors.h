#pragma once

#include <string>
#include <utility>
#include <vector>

#include <torch/nn/module.h>

namespace moe::models {

/// Everything a checkpoint of `module` holds: its parameters, then its buffers (router state), by
/// dotted name.
std::vector<std::pair<std::string, at::Tensor>> named_tensors(const torch::nn::Module& module);

/// Its parameters alone.
std::vector<std::pair<std::string, at::Tensor>> named_parameters(const torch::nn::Module& module);

}  // namespace moe::models
