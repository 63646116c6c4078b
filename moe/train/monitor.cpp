// E experts.
#include <moe/train/monitor.h>

namespace moe::train {

namespace {

constexpr const char* kBalanceRemedy =
    "A new run can add balance terms (model.moe.balance) or raise their coefficients";

/// One number for a layer and an expert.
int64_t subject_of(int64_t layer, int64_t expert) {
  return (layer << 32) + expert;
}

std::string name_of_expert(int64_t layer, int64_t expert) {
  return concat("expert ", expert, " of layer ", layer);
}

}  // namespace

ExpertMonitor::ExpertMonitor(const MonitorOptions& options, PeriodicWarnings* warnings)
    : options_(options),
      warnings_(warnings),
      // One that was started again is given as much time once more.
      told_after_(options.revive ? 2 * options.unused_steps : options.unused_steps),
      unused_kind_{
          concat("experts without a token for ", told_after_, " steps or more"),
          concat(kBalanceRemedy, options.revive ? "." : ", or set train.monitor.revive = true.")},
      overload_kind_{
          concat("experts that took more than ", options.overload, " times the mean load"),
          concat(kBalanceRemedy, '.')} {}

void ExpertMonitor::warn_of_unused(int64_t layer, int64_t expert, int64_t steps) const {
  if (!warnings_ || told_after_ == 0 || steps < told_after_) return;
  warnings_->add(unused_kind_, subject_of(layer, expert), static_cast<double>(steps), [&] {
    return concat("the longest ", name_of_expert(layer, expert), " for ", steps);
  });
}

void ExpertMonitor::warn_of_overload(int64_t layer, int64_t expert, double times,
                                     int64_t step) const {
  if (!warnings_ || options_.overload <= 0 || times <= options_.overload) return;
  warnings_->add(overload_kind_, subject_of(layer, expert), times, [&] {
    return concat("at most ", times, " times, ", name_of_expert(layer, expert), " in step ", step);
  });
}

std::vector<DeadExpert> ExpertMonitor::observe(const std::vector<LayerLoad>& layers, int64_t step) {
  std::vector<DeadExpert> dead;
  unused_.resize(layers.size());
  layers_.clear();
  for (size_t i = 0; i < layers.size(); ++i) {
    const int64_t layer = layers[i].layer;
    const Tensor& load_E = layers[i].load_E;
    layers_.push_back(layer);
    const int64_t E = load_E.size(0);
    auto& unused = unused_[i];
    unused.resize(static_cast<size_t>(E));
    if (restored_.size() >= static_cast<size_t>(E)) {
      unused.assign(restored_.begin(), restored_.begin() + E);
      restored_.erase(restored_.begin(), restored_.begin() + E);
    }
    const double mean = load_E.mean().item<double>();
    for (int64_t e = 0; e < E; ++e) {
      const double load = load_E[e].item<double>();
      auto& since = unused[static_cast<size_t>(e)];
      since = load == 0 ? since + 1 : 0;
      if (options_.unused_steps > 0 && since == options_.unused_steps)
        dead.push_back({layer, e, load_E.argmax().item<int64_t>()});
      warn_of_unused(layer, e, since);
      if (mean > 0) warn_of_overload(layer, e, load / mean, step);
    }
  }
  return dead;
}

std::vector<ExpertNews> ExpertMonitor::news(const std::vector<DeadExpert>& revived) const {
  std::vector<ExpertNews> out(layers_.size());
  for (size_t i = 0; i < layers_.size(); ++i) {
    for (size_t e = 0; e < unused_[i].size(); ++e) {
      if (options_.unused_steps == 0 || unused_[i][e] < options_.unused_steps) continue;
      out[i].unused_experts.push_back(static_cast<int64_t>(e));
      out[i].unused_steps.push_back(unused_[i][e]);
    }
    for (const auto& [layer, expert, busiest] : revived) {
      if (layer != layers_[i]) continue;
      out[i].revived.push_back(expert);
      out[i].revived_from.push_back(busiest);
    }
  }
  return out;
}

std::vector<int64_t> ExpertMonitor::state() const {
  if (unused_.empty()) return restored_;  // no step since restore()
  std::vector<int64_t> out;
  for (const auto& layer : unused_) out.insert(out.end(), layer.begin(), layer.end());
  return out;
}

void ExpertMonitor::restore(const std::vector<int64_t>& state) {
  unused_.clear();
  restored_ = state;
}

}  // namespace moe::train
