// E experts, L experts on this rank.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/random_fill.h>
#include <moe/parallel/gather_named.h>
#include <moe/routing/router.h>
#include <moe/train/revive.h>

namespace moe::train {

namespace {

constexpr double kNoise = 0.01;

/// One parameter of the layer and its number in the optimizer.
struct Item {
  size_t index;
  Parameter parameter;
};

/// The optimizer's parameters that belong to a layer and are said to be experts'.
std::vector<Item> items_of(const torch::nn::Module& layer, const Optimizer& optimizer) {
  std::unordered_set<const c10::TensorImpl*> inside;
  for (const auto& parameter : parameters_of(layer))
    inside.insert(parameter.tensor.unsafeGetTensorImpl());
  std::vector<Item> out;
  for (size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const auto& parameter = optimizer.parameters()[i];
    const bool of_experts = parameter.info.per_expert || parameter.info.expert;
    if (of_experts && inside.contains(parameter.tensor.unsafeGetTensorImpl()))
      out.push_back({i, parameter});
  }
  return out;
}

/// Those of one expert alone, in the order of their names, which differ by the expert only.
std::vector<Item> items_of_expert(const std::vector<Item>& items, int64_t expert) {
  std::vector<Item> out;
  std::copy_if(items.begin(), items.end(), std::back_inserter(out),
               [&](const Item& item) { return item.parameter.info.expert == expert; });
  std::sort(out.begin(), out.end(),
            [](const Item& a, const Item& b) { return a.parameter.name < b.parameter.name; });
  return out;
}

/// The row of an expert in what is its own, 0, or in a stack; nothing where it has none here.
std::optional<int64_t> row_in(const Parameter& parameter, int64_t expert) {
  const auto& info = parameter.info;
  if (info.expert) return *info.expert == expert ? std::optional<int64_t>(0) : std::nullopt;
  return info.per_expert ? row_of(parameter, expert) : std::nullopt;
}

/// Whether everything of this rank that belongs to an expert learns.
bool learns_whole(const torch::nn::Module& layer, const Optimizer& optimizer, int64_t expert) {
  std::unordered_map<const c10::TensorImpl*, size_t> number_of;
  for (size_t i = 0; i < optimizer.parameters().size(); ++i)
    number_of[optimizer.parameters()[i].tensor.unsafeGetTensorImpl()] = i;
  for (const auto& parameter : parameters_of(layer)) {
    const auto row = row_in(parameter, expert);
    if (!row) continue;
    const auto found = number_of.find(parameter.tensor.unsafeGetTensorImpl());
    if (found == number_of.end() || !optimizer.learns(found->second, *row)) return false;
  }
  return true;
}

/// Expert `expert` of a stack, on every rank of those that share the experts.
Tensor expert_of(const Parameter& stack, int64_t expert, parallel::Communicator& sharers) {
  const auto& [name, tensor, info] = stack;
  if (!info.sharded) return tensor.select(0, expert).detach().clone();
  const auto row = row_of(stack, expert);
  Tensor values = row ? tensor.select(0, *row).detach().clone()
                      : at::empty(tensor.sizes().slice(1), tensor.options().requires_grad(false));
  sharers.broadcast(values, info.placement
                                ? info.placement->owner_of(expert)
                                : parallel::owner_of(expert, whole_rows(stack), sharers.size()));
  return values;
}

/// Gives the dead expert's part of a parameter and of its moments a new start.
class Restart {
 public:
  Restart(const DeadExpert& dead, const Optimizer& optimizer, uint64_t seed, int64_t step)
      : dead_(dead), optimizer_(optimizer), seed_(seed), step_(step) {}

  void single(const Item& item, const Tensor& from) const {
    fill(item.parameter.name, item.parameter.tensor, from);
    optimizer_.forget(item.index);
  }

  void stacked(const Item& item, const Tensor& from) const {
    const auto row = row_of(item.parameter, dead_.expert);
    if (!row) return;  // another rank's
    fill(item.parameter.name, item.parameter.tensor.select(0, *row), from);
    optimizer_.forget(item.index, {*row, 1});
  }

 private:
  void fill(const std::string& name, Tensor values, const Tensor& from) const {
    Tensor noise = at::empty_like(from);
    const double scale = kNoise * from.square().mean().sqrt().item<double>();
    const RandomStream stream(seed_, concat(name, '@', step_, '#', dead_.expert));
    ops::fill_normal_(noise, stream, scale);
    values.copy_(from + noise);
  }

  const DeadExpert& dead_;
  const Optimizer& optimizer_;
  uint64_t seed_;
  int64_t step_;
};

}  // namespace

std::string revive(const DeadExpert& dead, const torch::nn::Module& layer,
                   const Optimizer& optimizer, const parallel::Layout& layout, uint64_t seed,
                   int64_t step, bool* started) {
  const at::NoGradGuard no_grad;
  const std::string who = concat("expert ", dead.expert, " of layer ", dead.layer);
  const auto items = items_of(layer, optimizer);

  // Modules may differ from each other, and their owners are one rank each. The busiest may be
  // frozen.
  std::vector<std::pair<std::string, Tensor>> own;
  for (const auto& [name, tensor, info] : parameters_of(layer))
    if (info.expert == dead.busiest) own.emplace_back(name, tensor.detach());
  const auto busiest = parallel::gather_named(own, *layout.experts);
  const auto singles = items_of_expert(items, dead.expert);
  bool fits = singles.empty() || singles.size() == busiest.size();
  for (size_t i = 0; fits && i < singles.size(); ++i)
    fits = singles[i].parameter.tensor.sizes() == busiest[i].second.sizes();
  Tensor against = at::zeros({2}, at::kLong);
  against[0] = learns_whole(layer, optimizer, dead.expert) ? 0 : 1;
  against[1] = fits ? 0 : 1;
  layout.experts->all_reduce(against);
  const bool frozen = against[0].item<int64_t>() > 0, misfits = against[1].item<int64_t>() > 0;
  if (started) *started = !frozen && !misfits;
  if (frozen) return concat(who, " stays as it is: it, or its row of the router, is frozen.");
  if (misfits)
    return concat(who, " stays as it is: it differs in shape from expert ", dead.busiest, '.');

  const Restart restart(dead, optimizer, seed, step);
  for (size_t i = 0; i < singles.size(); ++i) restart.single(singles[i], busiest[i].second);
  for (const auto& item : items)
    if (!item.parameter.info.expert)
      restart.stacked(item, expert_of(item.parameter, dead.busiest, *layout.experts));
  return concat(who, " starts again from expert ", dead.busiest, '.');
}

void clear_moments(int64_t expert, const torch::nn::Module& layer, const Optimizer& optimizer) {
  const at::NoGradGuard no_grad;
  for (const auto& [index, parameter] : items_of(layer, optimizer)) {
    const auto row = row_in(parameter, expert);
    if (!row) continue;  // another rank's
    optimizer.forget(index, parameter.info.expert ? Rows() : Rows{*row, 1});
  }
}

void clear_started(const models::Model& model, const Optimizer& optimizer) {
  for (const auto& block : model.blocks())
    for (const auto& module : block->modules())
      if (const auto* router = dynamic_cast<const routing::Router*>(module.get()))
        for (const int64_t expert : router->started_anew())
          clear_moments(expert, *block, optimizer);
}

}  // namespace moe::train
