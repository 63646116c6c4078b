#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

#include <moe/train/clip.h>
#include <moe/train/groups.h>
#include <moe/train/optimizer.h>

namespace moe::train {

namespace {

/// (E,) int64 on the CPU: tokens of each expert of the layer that a parameter of experts belongs
/// to.
Tensor tokens_for(const Parameter& parameter, size_t index, const ExpertTokens& tokens) {
  check(index < tokens.size() && tokens[index].defined(), "train/optimizer",
        "expected the tokens that the experts of '", parameter.name,
        "' got, since idle ones are treated apart, got none. Pass them to step.");
  return tokens[index].to(at::kCPU, at::kLong).contiguous();
}

}  // namespace

Optimizer::Optimizer(const OptimizerShape& shape, const StateShares::RowsApart& rows_apart)
    : parameters_(shape.parameters),
      shares_(shape.parameters, {shape.sharing.layout, shape.sharing.shared_out && rows_apart},
              rows_apart),
      warmup_(shape.options.router_warmup),
      decays_idle_(shape.options.decay_idle_experts) {
  check<ConfigError>(
      rows_apart || !shape.sharing.shared_out, "train/optimizer",
      "expected an optimizer whose state can be shared out for parallel.shard_optimizer = "
      "true, got '",
      shape.options.rule.kind, "', which keeps all of it on every rank. Leave it out.");
  for (const auto& parameter : parameters_) paces_.push_back(paces_of(parameter, shape.options));
}

std::vector<Optimizer::Pace> Optimizer::paces_of(const Parameter& parameter,
                                                 const OptimizerOptions& options) {
  const auto part = parameter.info.part;
  std::vector<Pace> out;
  for (const auto& [rows, group] : grouped_rows(options.groups, parameter)) {
    if (group && group->frozen) continue;
    Pace pace;
    pace.rows = rows;
    pace.weight_decay = parameter.info.decays() ? options.weight_decay : 0;
    pace.warms_up = part == Part::kRouter;
    if (part == Part::kRouter) pace.lr_factor = options.router_lr_factor;
    if (part == Part::kExperts) pace.lr_factor = options.expert_lr_factor;
    if (group) {
      pace.lr_factor *= group->lr_factor;
      if (group->weight_decay >= 0) pace.weight_decay = group->weight_decay;
    }
    out.push_back(pace);
  }
  return out;
}

void Optimizer::add_change(const Change& change, const ExpertTokens& tokens,
                           std::vector<Change>& out) const {
  const auto& parameter = parameters_[change.index];
  const auto& info = parameter.info;
  const bool of_experts =
      info.part == Part::kExperts && (info.per_expert || info.expert.has_value());
  const bool skips = skips_idle();
  if (!of_experts || !(skips || (!decays_idle_ && change.weight_decay != 0))) {
    out.push_back(change);
    return;
  }
  const Tensor tokens_E = tokens_for(parameter, change.index, tokens);
  const auto is_idle = [&, counts = tokens_E.const_data_ptr<int64_t>()](int64_t expert) {
    check(expert < tokens_E.size(0), "train/optimizer", "expected tokens of more than ", expert,
          " experts for '", parameter.name, "', got those of ", tokens_E.size(0), '.');
    return counts[expert] == 0;
  };
  const auto add = [&](bool idle, const Rows& rows) {
    out.push_back(change);
    if (idle) out.back().weight_decay = 0;
    out.back().rows = idle && skips ? Rows{0, 0} : rows;
  };
  if (info.expert) {
    add(is_idle(*info.expert), change.rows);
    return;
  }
  const int64_t first = change.rows.all() ? 0 : change.rows.first;
  const int64_t end = first + (change.rows.all() ? parameter.tensor.size(0) : change.rows.count);
  for (int64_t begin = first, row = first; row < end; begin = row) {
    const bool idle = is_idle(info.number_of(row));
    while (row < end && is_idle(info.number_of(row)) == idle) ++row;
    add(idle, row - begin == end - first ? change.rows : Rows{begin, row - begin});
  }
}

void Optimizer::step(double lr, int64_t step, const ExpertTokens& tokens, double gradient_factor) {
  const at::NoGradGuard no_grad;
  gradient_factor_ = gradient_factor;
  if (!multiplies_gradients()) multiply_gradients(parameters_, gradient_factor);
  const double warmup =
      warmup_ > 0 ? std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(warmup_)) : 1;
  std::vector<Change> changes;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, tensor, info] = parameters_[i];
    // Of a stack without experts here the number of updates rises with that of the other ranks.
    const bool is_empty = info.sharded && tensor.numel() == 0;
    if (!tensor.grad().defined()) {
      if (!is_empty) continue;
      tensor.mutable_grad() = at::empty_like(tensor);  // what `update` may read has a gradient
    }
    if (is_empty || paces_[i].empty()) {
      Change none;
      none.index = i;
      none.rows = {0, 0};
      changes.push_back(none);
      continue;
    }
    for (const auto& pace : paces_[i]) {
      Change change;
      change.index = i;
      change.lr = lr * pace.lr_factor * (pace.warms_up ? warmup : 1);
      change.weight_decay = pace.weight_decay;
      change.rows = pace.rows;
      add_change(change, tokens, changes);
    }
  }
  std::vector<size_t> changed;
  for (auto& change : changes) {
    change.rows = change.rows.within(shares_.here(change.index));
    if (changed.empty() || changed.back() != change.index) changed.push_back(change.index);
  }
  update(changes);
  shares_.hand_out(changed);
}

void Optimizer::forget(size_t index, const Rows& rows) const {
  const Rows here = rows.within(shares_.here(index));
  for (const Tensor& moment : moments(index)) shares_.part(moment, index, here).zero_();
}

bool Optimizer::learns(size_t index, int64_t row) const {
  const auto& paces = paces_.at(index);
  return std::any_of(paces.begin(), paces.end(), [&](const auto& pace) {
    return pace.rows.all() || (row >= pace.rows.first && row < pace.rows.first + pace.rows.count);
  });
}

void Optimizer::zero_gradients() {
  for (auto& parameter : parameters_) parameter.tensor.mutable_grad() = Tensor();
}

std::shared_ptr<Optimizer> make_optimizer(const Parameters& parameters,
                                          const OptimizerOptions& options,
                                          const StateSharing& sharing) {
  OptimizerShape shape{.parameters = {}, .options = options, .sharing = sharing};
  std::copy_if(parameters.begin(), parameters.end(), std::back_inserter(shape.parameters),
               [](const auto& parameter) { return parameter.tensor.requires_grad(); });
  return options.rule.make(shape);
}

#define MOE_REGISTRY optimizers
#define MOE_REGISTRY_NAMES "optimizer"
#define MOE_REGISTRY_TABLE <moe/train/optimizers.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::train
