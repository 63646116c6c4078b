#pragma once

#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <moe/ops/gradient_sink.h>
#include <moe/train/options.h>

namespace moe::train {

using at::Tensor;
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// AdamW over named parameters:
///   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g²,  p -= lr (m̂ / (sqrt(v̂) + eps) + decay p).
///
/// Groups by name: routers ("router") and experts ("experts") have learning rates of their own;
/// matrices decay, but for "embedding" and whatever has one dimension. Then options.groups (see
/// groups.h) have their say. Parameters that need no gradient (frozen ones) are not its business;
/// those whose gradient is undefined stay as they are.
///
/// Experts whose gradient `sinks` know to be zero are updated all the same (their moments fade and
/// their weights decay), to the bits that zeros in memory give, but the zeros are not read.
class AdamW {
 public:
  AdamW(NamedTensors parameters, const OptimizerOptions& options, ops::GradientSinks sinks = {});

  /// One update at learning rate `lr`; `step` (from 0) is for the routers' warm-up.
  void step(double lr, int64_t step);
  void zero_gradients();

  const NamedTensors& parameters() const { return parameters_; }
  const ops::GradientSinks& sinks() const { return sinks_; }
  /// The moments ("NAME.exp_avg", "NAME.exp_avg_sq") and the updates each parameter has seen
  /// ("steps", (P,); "NAME.steps", () for parameters of one expert, which differ from rank to
  /// rank), as checkpoints keep them.
  NamedTensors state() const;

 private:
  struct Slot {
    Tensor exp_avg, exp_avg_sq, step;
    double lr_factor = 1;
    double weight_decay = 0;
    bool router = false;
  };
  struct Group;

  void add_to(Group& group, const Tensor& parameter, const Slot& slot);

  OptimizerOptions options_;
  NamedTensors parameters_;
  Tensor steps_P_;  // of all but single experts
  std::vector<Slot> slots_;
  ops::GradientSinks sinks_;
  Tensor zeros_;  // a piece of an idle expert's gradient
};

}  // namespace moe::train
