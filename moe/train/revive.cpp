#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

#include <moe/base/log.h>
#include <moe/ops/random_fill.h>
#include <moe/parallel/gradients.h>
#include <moe/train/revive.h>

namespace moe::train {

namespace {

constexpr double kNoise = 0.01;

/// Whether `name` is indexed by expert on dimension 0 in the layer called `prefix`.
bool belongs(const std::string& name, const std::string& prefix) {
  const std::string router = prefix + "router.";
  if (name.rfind(router, 0) != 0) return name.rfind(prefix + "experts.", 0) == 0;
  // What belongs to a child of the router ("hidden.w_in") is shared by all experts; a dot may also
  // begin the name of an optimizer moment ("weight.exp_avg").
  const size_t dot = name.find('.', router.size());
  return dot == std::string::npos || name.compare(dot, 8, ".exp_avg") == 0;
}

/// What of a tensor is the dead expert's, and what the busiest one's; the latter is undefined when
/// there is no such part.
struct Part {
  std::string name;
  Tensor dead, busiest;
};

std::vector<Part> parts_of(const NamedTensors& tensors, const std::string& prefix,
                           const DeadExpert& dead) {
  std::vector<Part> out;
  for (const auto& [name, tensor] : tensors) {
    if (!belongs(name, prefix)) continue;
    const auto single = parallel::single_expert(name);
    if (!single)
      out.push_back({name, tensor.select(0, dead.expert), tensor.select(0, dead.busiest)});
    if (single != dead.expert) continue;
    const std::string experts = prefix + "experts.";
    const std::string rest = name.substr(concat(experts, dead.expert).size());
    const std::string twin = concat(experts, dead.busiest, rest);
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const auto& item) { return item.first == twin; });
    out.push_back({name, tensor, found == tensors.end() ? Tensor() : found->second});
  }
  return out;
}

}  // namespace

void revive(const DeadExpert& dead, const AdamW& optimizer, uint64_t seed, int64_t step) {
  const at::NoGradGuard no_grad;
  const std::string prefix = concat("layers.", dead.layer, ".moe.");
  const auto pairs = parts_of(optimizer.parameters(), prefix, dead);
  const auto unequal = std::find_if(pairs.begin(), pairs.end(), [](const Part& part) {
    return !part.busiest.defined() || part.busiest.sizes() != part.dead.sizes();
  });
  if (unequal != pairs.end()) {
    log::warn(concat("step ", step, ": expert ", dead.expert, " of layer ", dead.layer,
                     " stays as it is: it differs in shape from expert ", dead.busiest, " (",
                     unequal->name, ")."));
    return;
  }
  for (const auto& [name, dead_part, busiest_part] : pairs) {
    Tensor noise = at::empty_like(dead_part);
    const double scale = kNoise * busiest_part.square().mean().sqrt().item<double>();
    ops::fill_normal_(noise, RandomStream(seed, concat(name, '@', step, '#', dead.expert)), scale);
    Tensor(dead_part).copy_(busiest_part + noise);
  }
  for (const auto& [name, state, other] : parts_of(optimizer.state(), prefix, dead))
    Tensor(state).zero_();
  log::warn(concat("step ", step, ": expert ", dead.expert, " of layer ", dead.layer,
                   " starts again from expert ", dead.busiest, "."));
}

}  // namespace moe::train
