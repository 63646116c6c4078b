#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

#include <moe/base/log.h>
#include <moe/ops/random_fill.h>
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

}  // namespace

void revive(const DeadExpert& dead, const AdamW& optimizer, uint64_t seed, int64_t step) {
  const at::NoGradGuard no_grad;
  const std::string prefix = concat("layers.", dead.layer, ".moe.");
  for (const auto& [name, parameter] : optimizer.parameters()) {
    if (!belongs(name, prefix)) continue;
    Tensor noise = at::empty_like(parameter.select(0, dead.expert));
    const double scale =
        kNoise * parameter.select(0, dead.busiest).square().mean().sqrt().item<double>();
    ops::fill_normal_(noise, RandomStream(seed, concat(name, '@', step, '#', dead.expert)), scale);
    parameter.select(0, dead.expert).copy_(parameter.select(0, dead.busiest) + noise);
  }
  for (const auto& [name, state] : optimizer.state())
    if (belongs(name, prefix)) state.select(0, dead.expert).zero_();
  log::warn(concat("step ", step, ": expert ", dead.expert, " of layer ", dead.layer,
                   " starts again from expert ", dead.busiest, "."));
}

}  // namespace moe::train
