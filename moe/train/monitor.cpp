#include <moe/base/log.h>
#include <moe/train/monitor.h>

namespace moe::train {

void ExpertMonitor::warn(const std::string& text) const {
  if (warns_) log::warn(text);
}

std::vector<DeadExpert> ExpertMonitor::observe(const std::vector<LayerLoad>& layers, int64_t step) {
  std::vector<DeadExpert> dead;
  unused_.resize(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto& [layer, load_E, dropped] = layers[i];
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
      if (options_.unused_steps > 0 && since == options_.unused_steps) {
        warn(concat("step ", step, ": expert ", e, " of layer ", layer, " got no token for ", since,
                    " steps. Raise the balance loss, or set train.monitor.revive."));
        dead.push_back({layer, e, load_E.argmax().item<int64_t>()});
      }
      if (options_.overload <= 0 || mean == 0) continue;
      if (load <= options_.overload * mean)
        overloaded_.erase({layer, e});
      else if (overloaded_.insert({layer, e}).second)
        warn(concat("step ", step, ": expert ", e, " of layer ", layer, " takes ", load / mean,
                    " times the mean load. Raise the balance loss."));
    }
  }
  return dead;
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
