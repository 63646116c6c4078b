#pragma once

#include <optional>
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

/// Rows of dimension 0 that are this rank's own: all but copies of other ranks' experts, which are
/// the last.
int64_t own_rows(const Parameter& parameter);
/// The row of dimension 0 with expert `expert`, a copy too; nothing where this rank has it not.
std::optional<int64_t> row_of(const Parameter& parameter, int64_t expert);

/// Experts that lie behind one another on dimension 0 and in number.
struct ExpertRun {
  int64_t first = 0;  // the number of the first
  int64_t row = 0;
  int64_t count = 0;
};
/// The first `rows` rows of dimension 0 as runs, in order; without experts from number first_expert
/// on.
std::vector<ExpertRun> runs_of(const ParameterInfo& info, int64_t rows);

/// Numbers of a parameter, padding left out.
int64_t numbers_in_use(const Parameter& parameter);

/// What a checkpoint holds: the parameters, then the buffers.
Parameters tensors_of(const torch::nn::Module& module);

}  // namespace moe
