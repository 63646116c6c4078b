#pragma once

#include <memory>
#include <vector>

#include <moe/parameters/list.h>
#include <moe/train/options.h>

namespace moe::train {

/// What every optimizer is made for.
struct OptimizerShape {
  /// Those that learn.
  Parameters parameters;
  /// What is not the kind's own: rates and decay.
  OptimizerOptions options;
};

/// Changes parameters by their gradients. A swap point: one file in optimizers/ and one line in
/// optimizers.def add a kind.
///
/// What all kinds share is here: routers and experts (ParameterInfo::part) have learning rates of
/// their own, routers warm up, what decays() decays, and options.groups have their say by name
/// (groups.h). Parameters without a gradient stay as they are. Every rank has an optimizer for what
/// it holds; gradients are reduced before.
class Optimizer {
 public:
  explicit Optimizer(const OptimizerShape& shape);
  virtual ~Optimizer() = default;

  /// One update at learning rate `lr`; `step` (from 0) is for warm-ups.
  void step(double lr, int64_t step);
  void zero_gradients();

  const Parameters& parameters() const { return parameters_; }
  /// Everything that `step` reads and changes beside the parameters, as checkpoints keep it. What
  /// belongs to a parameter has its info and a name that begins with its name.
  virtual Parameters state() const = 0;
  /// Of the state, what has the shape of parameter number `index`: to start a part of it again.
  virtual std::vector<Tensor> moments(size_t index) const = 0;

 protected:
  /// A parameter that has a gradient, and its rates in this step.
  struct Change {
    size_t index = 0;
    double lr = 0;
    double weight_decay = 0;
  };
  virtual void update(const std::vector<Change>& changes) = 0;

 private:
  /// A parameter's rates over those of the run.
  struct Pace {
    double lr_factor = 1;
    double weight_decay = 0;
    bool warms_up = false;
  };
  static Pace pace_of(const Parameter& parameter, const OptimizerOptions& options);

  Parameters parameters_;
  std::vector<Pace> paces_;
  int64_t warmup_;
};

/// The optimizer that `options` describe, for those of `parameters` that need a gradient.
std::shared_ptr<Optimizer> make_optimizer(const Parameters& parameters,
                                          const OptimizerOptions& options);

}  // namespace moe::train
