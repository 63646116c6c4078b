#pragma once

#include <string>
#include <vector>

#include <torch/nn/module.h>

#include <moe/parameters/info.h>

namespace moe {

/// A parameter or buffer under its dotted name, with what it is.
struct Parameter {
  std::string name;
  Tensor tensor;
  ParameterInfo info;
};

using Parameters = std::vector<Parameter>;

/// Every parameter of `module` and of what it holds, each once, in the order of registration. Those
/// of plain torch::nn modules are matrices (two dimensions or more) or biases, in the part of what
/// holds them, and keep the start they come with.
Parameters parameters_of(const torch::nn::Module& module);

/// Dimension 0 over all ranks that share the experts, of a tensor that has one.
int64_t whole_rows(const Parameter& parameter);

/// Numbers of a parameter, padding left out.
int64_t numbers_in_use(const Parameter& parameter);

/// What a checkpoint holds: the parameters, then the buffers.
Parameters tensors_of(const torch::nn::Module& module);

}  // namespace moe
