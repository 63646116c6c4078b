#pragma once
// Gradients of stacked parameters that know which experts they are zero for. E experts.

#include <unordered_map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <moe/ops/cpu/weight_sums.h>
#include <moe/ops/sums.h>

namespace moe::ops {

/// Keeps the memory of a stacked parameter's `.grad()` (E, …) from step to step, and for each
/// expert whether it is zero there. Backward passes of the grouped MLPs that are given it
/// (MlpParameters::sinks) leave float32 sums straight in that memory, and nothing for experts
/// without rows, but for clearing what an earlier step left.
///
/// `.grad()` is a whole, correct gradient after each pass, for whoever reads it or changes it in
/// place; a change moves its version, after which no zero is taken for known. Where `.grad()` is a
/// tensor of somebody else's, or the pass is one of autograd::grad, or the parameter has hooks, the
/// gradient goes to autograd as that of any other parameter. Somebody who holds a step's gradient
/// keeps it: the next step gets other memory.
///
/// Not safe for two backward passes at a time. Changes through `data_ptr()` or `variable_data()`
/// move no version and are not seen.
class GradientSink : public torch::CustomClassHolder {
 public:
  explicit GradientSink(Tensor parameter);

  /// Whether a parameter can have one: float32, contiguous, on the CPU, and learning.
  static bool serves(const Tensor& parameter);

  const Tensor& parameter() const { return parameter_; }

  /// Opens a pass: null where the gradient must go to autograd. Until end() nothing is known.
  Tensor begin();
  /// The states of begin()'s tensor: the pass moves them along.
  cpu::SumState* state_E() { return state_E_.data(); }
  /// Makes begin()'s tensor the `.grad()`.
  void end();

  /// Whether `.grad()` is this memory and nobody has changed it since the last pass.
  bool knows_zeros() const;
  /// Where it is anything but zero, in whole steps of kRangeStep. Meant for knows_zeros().
  std::vector<Range> live_ranges() const;
  /// After a change that left zeros zero: they are known still.
  void keep_zeros() { noted_ = sums_._version(); }

 private:
  bool is_noted() const { return noted_ >= 0 && sums_._version() == noted_; }
  /// Whether nobody else looks at this memory.
  bool is_ours_alone() const;

  Tensor parameter_, sums_;
  std::vector<cpu::SumState> state_E_;
  int64_t noted_ = -1;  // the version of sums_ that the states describe
};

using GradientSinkPtr = c10::intrusive_ptr<GradientSink>;

/// One backward pass through a weight with a sink: where the kernels leave its gradient, which is
/// in `.grad()`, or in a tensor for autograd where the sink is closed to the pass.
class SinkPass {
 public:
  /// A null sink makes a pass of nothing.
  explicit SinkPass(GradientSinkPtr sink);

  /// Null for nothing.
  float* sums() const { return sums_.defined() ? sums_.mutable_data_ptr<float>() : nullptr; }
  /// The states of the sums, which the pass moves along.
  cpu::SumState* state_E() { return open_ ? sink_->state_E() : own_E_.data(); }
  /// Ends the pass; what autograd gets.
  Tensor result();

 private:
  GradientSinkPtr sink_;
  Tensor sums_;
  bool open_ = false;
  std::vector<cpu::SumState> own_E_;  // where the sink is closed
};

/// Those of an MLP's two weights; null for none.
struct MlpSinks {
  GradientSinkPtr w_in, w_out;
};

/// The sinks of a model's parameters.
class GradientSinks {
 public:
  void add(GradientSinkPtr sink) {
    const auto* const parameter = sink->parameter().unsafeGetTensorImpl();
    sinks_.emplace(parameter, std::move(sink));
  }
  size_t size() const { return sinks_.size(); }
  /// The parameter's sink where that knows its zeros now, else null.
  GradientSink* knowing(const Tensor& parameter) const;

 private:
  std::unordered_map<const c10::TensorImpl*, GradientSinkPtr> sinks_;
};

}  // namespace moe::ops
