#include <algorithm>
#include <map>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/parallel/gradients.h>
#include <moe/train/groups.h>
#include <moe/train/optimizer.h>

namespace moe::train {

namespace {

/// Stacked experts have one dimension more than what a single expert has.
bool decays(const std::string& name, const Tensor& parameter) {
  const bool stacked = parallel::is_expert_parameter(name) && !parallel::single_expert(name);
  const int64_t matrix = stacked ? 3 : 2;
  return parameter.dim() >= matrix && !parallel::has_component(name, "embedding");
}

}  // namespace

AdamW::AdamW(NamedTensors parameters, const OptimizerOptions& options)
    : options_(options), parameters_(std::move(parameters)) {
  std::erase_if(parameters_, [](const auto& item) { return !item.second.requires_grad(); });
  const auto single = [](const auto& item) {
    return parallel::single_expert(item.first).has_value();
  };
  const auto singles = std::count_if(parameters_.begin(), parameters_.end(), single);
  steps_P_ = at::zeros({static_cast<int64_t>(parameters_.size()) - singles}, at::kFloat);
  int64_t next = 0;
  for (const auto& item : parameters_) {
    const auto& [name, parameter] = item;
    Slot slot;
    slot.exp_avg = at::zeros_like(parameter).detach();
    slot.exp_avg_sq = at::zeros_like(parameter).detach();
    slot.step = single(item) ? at::zeros({}, at::kFloat) : steps_P_.select(0, next++);
    slot.weight_decay = decays(name, parameter) ? options_.weight_decay : 0;
    slot.router = parallel::has_component(name, "router");
    slot.lr_factor = slot.router                           ? options_.router_lr_factor
                     : parallel::is_expert_parameter(name) ? options_.expert_lr_factor
                                                           : 1;
    if (const auto* group = group_of(options_.groups, name)) {
      slot.lr_factor *= group->lr_factor;
      if (group->weight_decay >= 0) slot.weight_decay = group->weight_decay;
    }
    slots_.push_back(std::move(slot));
  }
}

void AdamW::step(double lr, int64_t step) {
  const at::NoGradGuard no_grad;
  const double warmup = options_.router_warmup > 0
                            ? std::min(1.0, static_cast<double>(step + 1) /
                                                static_cast<double>(options_.router_warmup))
                            : 1;
  struct Group {
    std::vector<Tensor> parameters, gradients, exp_avg, exp_avg_sq, steps;
  };
  std::map<std::pair<double, double>, Group> groups;  // by learning rate and decay
  for (size_t i = 0; i < slots_.size(); ++i) {
    const auto& parameter = parameters_[i].second;
    const auto& slot = slots_[i];
    if (!parameter.grad().defined()) continue;
    auto& group = groups[{lr * slot.lr_factor * (slot.router ? warmup : 1), slot.weight_decay}];
    group.parameters.push_back(parameter);
    group.gradients.push_back(parameter.grad());
    group.exp_avg.push_back(slot.exp_avg);
    group.exp_avg_sq.push_back(slot.exp_avg_sq);
    group.steps.push_back(slot.step);
  }
  for (auto& [key, g] : groups) {
    for (auto& count : g.steps) count.add_(1);
    at::_fused_adamw_(g.parameters, g.gradients, g.exp_avg, g.exp_avg_sq, /*max_exp_avg_sqs=*/{},
                      g.steps, key.first, options_.beta1, options_.beta2, key.second,
                      options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  }
}

void AdamW::zero_gradients() {
  for (auto& [name, parameter] : parameters_) parameter.mutable_grad() = Tensor();
}

NamedTensors AdamW::state() const {
  NamedTensors out;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const auto& name = parameters_[i].first;
    out.emplace_back(name + ".exp_avg", slots_[i].exp_avg);
    out.emplace_back(name + ".exp_avg_sq", slots_[i].exp_avg_sq);
    if (parallel::single_expert(name)) out.emplace_back(name + ".steps", slots_[i].step);
  }
  out.emplace_back("steps", steps_P_);
  return out;
}

}  // namespace moe::train
