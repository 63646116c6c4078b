#pragma once

#include <map>
#include <string>

#include <torch/nn/module.h>

#include <moe/parameters/info.h>

namespace moe {

/// A module whose parameters and buffers say what they are, and that can exist unfilled: its
/// constructor gives it TensorOptions (on the device "meta": shapes alone), fills nothing and draws
/// nothing. `materialise` gives memory, `initialise` draws, a loader fills in place.
class Module : public torch::nn::Module {
 public:
  /// What the module holds itself; null for a name that was registered without an info.
  const ParameterInfo* info_of(const std::string& name) const;
  /// What all parameters of a foreign child (a plain torch::nn::Module) are; null when nothing was
  /// said.
  const ParameterInfo* child_info(const std::string& name) const;
  /// The part of the model that this module and its children are; none: that of what holds it.
  virtual std::optional<Part> part() const { return std::nullopt; }

 protected:
  explicit Module(const at::TensorOptions& tensors = {}) : tensors_(tensors) {}

  /// Registers an unfilled parameter of the module's TensorOptions.
  Tensor add_parameter(const std::string& name, at::IntArrayRef sizes, ParameterInfo info);
  /// Registers an unfilled buffer; its role is kState. It starts at zero unless info.start says
  /// otherwise.
  Tensor add_buffer(const std::string& name, at::IntArrayRef sizes, at::ScalarType type,
                    ParameterInfo info = {});
  /// Registers an unfilled tensor that is what a parameter is (its role, how it starts, its type)
  /// but for training: a buffer, which no optimizer sees.
  Tensor add_frozen(const std::string& name, at::IntArrayRef sizes, ParameterInfo info);
  /// Registers a module that is not one of ours, with what its parameters have in common: part,
  /// expert.
  void add_foreign(const std::string& name, std::shared_ptr<torch::nn::Module> module,
                   ParameterInfo info);

  const at::TensorOptions& tensors() const { return tensors_; }

 private:
  at::TensorOptions tensors_;
  std::map<std::string, ParameterInfo> infos_, children_;
};

}  // namespace moe
