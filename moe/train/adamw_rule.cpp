// P parameters.
#include <algorithm>
#include <numeric>
#include <optional>

#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <moe/train/adamw_rule.h>

namespace moe::train {

AdamWRule::AdamWRule(const Parameters& parameters, const std::vector<size_t>& indices,
                     const AdamW& rates, const StateShares& shares)
    : rates_(rates), shares_(shares) {
  const auto singles = std::count_if(indices.begin(), indices.end(), [&](size_t index) {
    return parameters[index].info.expert.has_value();
  });
  steps_P_ = at::zeros({static_cast<int64_t>(indices.size()) - singles}, at::kFloat);
  int64_t next = 0;
  for (const size_t index : indices) {
    const auto& parameter = parameters[index];
    Slot slot;
    slot.parameter = parameter;
    slot.exp_avg = shares.zeros(index);
    slot.exp_avg_sq = shares.zeros(index);
    slot.step = parameter.info.expert ? at::zeros({}, at::kFloat) : steps_P_.select(0, next++);
    slots_.emplace(index, std::move(slot));
  }
}

void AdamWRule::add(size_t index, double lr, double weight_decay, const Rows& rows) {
  auto& slot = slots_.at(index);
  if (counted_.insert(index).second) slot.step.add_(1);
  if (rows.count == 0) return;
  auto& group = groups_[{lr, weight_decay, slot.parameter.tensor.scalar_type()}];
  group.parameters.push_back(rows.of(slot.parameter.tensor));
  group.gradients.push_back(rows.of(slot.parameter.tensor.grad()));
  group.exp_avg.push_back(shares_.part(slot.exp_avg, index, rows));
  group.exp_avg_sq.push_back(shares_.part(slot.exp_avg_sq, index, rows));
  group.steps.push_back(slot.step);
}

void AdamWRule::finish(double gradient_factor) {
  for (auto& [rates, g] : groups_) {
    std::optional<Tensor> divisor;
    if (gradient_factor != 1 && rates.type == at::kDouble) {
      // libtorch takes the divisor in float32 alone.
      at::_foreach_mul_(g.gradients, gradient_factor);
    } else if (gradient_factor != 1) {
      divisor = at::full({}, 1 / gradient_factor, g.gradients.front().options().dtype(at::kFloat));
    }
    at::_fused_adamw_(g.parameters, g.gradients, g.exp_avg, g.exp_avg_sq, /*max_exp_avg_sqs=*/{},
                      g.steps, rates.lr, rates_.beta1, rates_.beta2, rates.weight_decay,
                      rates_.epsilon, /*amsgrad=*/false, /*maximize=*/false, divisor);
  }
  groups_.clear();
  counted_.clear();
}

void AdamWRule::add_state(Parameters& out) const {
  for (const auto& [index, slot] : slots_) {
    const auto& [name, tensor, info] = slot.parameter;
    out.push_back(shares_.entry(name + ".exp_avg", index, slot.exp_avg));
    out.push_back(shares_.entry(name + ".exp_avg_sq", index, slot.exp_avg_sq));
    if (info.expert) out.push_back({name + ".steps", slot.step, info});
  }
  out.push_back({"steps", steps_P_, {.role = Role::kState}});
}

std::vector<Tensor> AdamWRule::moments(size_t index) const {
  const auto found = slots_.find(index);
  if (found == slots_.end()) return {};
  return {found->second.exp_avg, found->second.exp_avg_sq};
}

namespace {

std::vector<size_t> all_of(const Parameters& parameters) {
  std::vector<size_t> out(parameters.size());
  std::iota(out.begin(), out.end(), size_t{0});
  return out;
}

}  // namespace

AdamWOptimizer::AdamWOptimizer(const OptimizerShape& shape, const AdamW& rates)
    // Every number goes its own way.
    : Optimizer(shape, [](const Parameter&) { return true; }),
      rule_(parameters(), all_of(parameters()), rates, shares()) {}

Parameters AdamWOptimizer::state() const {
  Parameters out;
  rule_.add_state(out);
  return out;
}

void AdamWOptimizer::update(const std::vector<Change>& changes) {
  for (const auto& change : changes)
    rule_.add(change.index, change.lr, change.weight_decay, change.rows);
  rule_.finish(gradient_factor());
}

}  // namespace moe::train
