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

/// Numbers of a piece of known zeros: 1 MiB, which stays in a cache.
constexpr int64_t kZeros = int64_t{1} << 18;

}  // namespace

/// What one call of the fused update takes.
struct AdamW::Group {
  std::vector<Tensor> parameters, gradients, exp_avg, exp_avg_sq, steps;

  void add(const Tensor& parameter, const Tensor& gradient, const Tensor& avg, const Tensor& avg_sq,
           const Tensor& step) {
    parameters.push_back(parameter);
    gradients.push_back(gradient);
    exp_avg.push_back(avg);
    exp_avg_sq.push_back(avg_sq);
    steps.push_back(step);
  }
};

AdamW::AdamW(NamedTensors parameters, const OptimizerOptions& options, ops::GradientSinks sinks)
    : options_(options), parameters_(std::move(parameters)), sinks_(std::move(sinks)) {
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

void AdamW::add_to(Group& group, const Tensor& parameter, const Slot& slot) {
  const Tensor& gradient = parameter.grad();
  const auto* const sink = sinks_.knowing(parameter);
  if (!sink) {
    group.add(parameter, gradient, slot.exp_avg, slot.exp_avg_sq, slot.step);
    return;
  }
  if (!zeros_.defined()) zeros_ = at::zeros({kZeros}, gradient.options());
  const Tensor p = parameter.view(-1), g = gradient.view(-1), m = slot.exp_avg.view(-1),
               v = slot.exp_avg_sq.view(-1);
  const auto add = [&](int64_t begin, int64_t end, const Tensor& part) {
    if (begin < end)
      group.add(p.slice(0, begin, end), part, m.slice(0, begin, end), v.slice(0, begin, end),
                slot.step);
  };
  // The fused update handles whole registers and what is left at the end differently: steps of
  // ranges are whole registers, so the end alone is an end here too.
  int64_t done = 0;
  const auto add_zeros = [&](int64_t end) {
    for (; done < end; done += kZeros) {
      const int64_t count = std::min(kZeros, end - done);
      add(done, done + count, zeros_.slice(0, 0, count));
    }
  };
  for (const auto& [begin, end] : sink->live_ranges()) {
    add_zeros(begin);
    add(begin, end, g.slice(0, begin, end));
    done = end;
  }
  add_zeros(p.size(0));
}

void AdamW::step(double lr, int64_t step) {
  const at::NoGradGuard no_grad;
  const double warmup = options_.router_warmup > 0
                            ? std::min(1.0, static_cast<double>(step + 1) /
                                                static_cast<double>(options_.router_warmup))
                            : 1;
  std::map<std::pair<double, double>, Group> groups;  // by learning rate and decay
  for (size_t i = 0; i < slots_.size(); ++i) {
    const auto& parameter = parameters_[i].second;
    const auto& slot = slots_[i];
    if (!parameter.grad().defined()) continue;
    Tensor(slot.step).add_(1);
    add_to(groups[{lr * slot.lr_factor * (slot.router ? warmup : 1), slot.weight_decay}], parameter,
           slot);
  }
  for (auto& [key, g] : groups)
    at::_fused_adamw_(g.parameters, g.gradients, g.exp_avg, g.exp_avg_sq, /*max_exp_avg_sqs=*/{},
                      g.steps, key.first, options_.beta1, options_.beta2, key.second,
                      options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
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
