#include <algorithm>

#include <ATen/core/grad_mode.h>

#include <moe/train/groups.h>
#include <moe/train/optimizer.h>

namespace moe::train {

Optimizer::Optimizer(const OptimizerShape& shape)
    : parameters_(shape.parameters), warmup_(shape.options.router_warmup) {
  for (const auto& parameter : parameters_) paces_.push_back(pace_of(parameter, shape.options));
}

Optimizer::Pace Optimizer::pace_of(const Parameter& parameter, const OptimizerOptions& options) {
  Pace out;
  out.weight_decay = parameter.info.decays() ? options.weight_decay : 0;
  out.warms_up = parameter.info.part == Part::kRouter;
  if (parameter.info.part == Part::kRouter) out.lr_factor = options.router_lr_factor;
  if (parameter.info.part == Part::kExperts) out.lr_factor = options.expert_lr_factor;
  if (const auto* group = group_of(options.groups, parameter.name)) {
    out.lr_factor *= group->lr_factor;
    if (group->weight_decay >= 0) out.weight_decay = group->weight_decay;
  }
  return out;
}

void Optimizer::step(double lr, int64_t step) {
  const at::NoGradGuard no_grad;
  const double warmup =
      warmup_ > 0 ? std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(warmup_)) : 1;
  std::vector<Change> changes;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].tensor.grad().defined()) continue;
    const auto& pace = paces_[i];
    changes.push_back({i, lr * pace.lr_factor * (pace.warms_up ? warmup : 1), pace.weight_decay});
  }
  update(changes);
}

void Optimizer::zero_gradients() {
  for (auto& parameter : parameters_) parameter.tensor.mutable_grad() = Tensor();
}

std::shared_ptr<Optimizer> make_optimizer(const Parameters& parameters,
                                          const OptimizerOptions& options) {
  OptimizerShape shape{.parameters = {}, .options = options};
  std::copy_if(parameters.begin(), parameters.end(), std::back_inserter(shape.parameters),
               [](const auto& parameter) { return parameter.tensor.requires_grad(); });
  return options.rule.make(shape);
}

#define MOE_REGISTRY optimizers
#define MOE_REGISTRY_NAMES "optimizer"
#define MOE_REGISTRY_TABLE <moe/train/optimizers.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::train
