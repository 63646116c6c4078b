// P parameters.
#include <algorithm>

#include <ATen/ops/_fused_adamw.h>
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
  auto& group = groups_[{lr, weight_decay}];
  group.parameters.push_back(rows.of(slot.parameter.tensor));
  group.gradients.push_back(rows.of(slot.parameter.tensor.grad()));
  group.exp_avg.push_back(shares_.part(slot.exp_avg, index, rows));
  group.exp_avg_sq.push_back(shares_.part(slot.exp_avg_sq, index, rows));
  group.steps.push_back(slot.step);
}

void AdamWRule::finish() {
  for (auto& [key, g] : groups_)
    at::_fused_adamw_(g.parameters, g.gradients, g.exp_avg, g.exp_avg_sq, /*max_exp_avg_sqs=*/{},
                      g.steps, key.first, rates_.beta1, rates_.beta2, key.second, rates_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
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

}  // namespace moe::train
