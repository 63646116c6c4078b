#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <moe/train/options.h>
#include <moe/train/step.h>

namespace moe::train {

/// An expert that got no token for too long.
struct DeadExpert {
  size_t moe_layer = 0;  // index among the MoE layers
  int64_t layer = 0;
  int64_t expert = 0;
  int64_t busiest = 0;  // the expert of the layer with most tokens in the last step
};

/// Watches the load of experts (B20). Its counters are part of the run's state.
class ExpertMonitor {
 public:
  explicit ExpertMonitor(const MonitorOptions& options) : options_(options) {}

  /// Takes one step's loads; returns experts unused for exactly the configured number of steps,
  /// once each time, and warns about them and about overloaded ones (again only after they
  /// recovered).
  std::vector<DeadExpert> observe(const std::vector<LayerLoad>& layers, int64_t step);

  /// Steps since each expert was last used, layers in a row; for checkpoints.
  std::vector<int64_t> state() const;
  void restore(const std::vector<int64_t>& state);

 private:
  MonitorOptions options_;
  std::vector<std::vector<int64_t>> unused_;
  std::vector<int64_t> restored_;
  std::set<std::pair<int64_t, int64_t>> overloaded_;
};

}  // namespace moe::train
