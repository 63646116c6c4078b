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
  int64_t layer = 0;  // number of the block
  int64_t expert = 0;
  int64_t busiest = 0;  // the expert of the layer with most tokens in the last step
};

/// Watches the load of experts. Its counters are part of the run's state.
class ExpertMonitor {
 public:
  /// `warns`: says what it sees (one rank does).
  explicit ExpertMonitor(const MonitorOptions& options, bool warns = true)
      : options_(options), warns_(warns) {}

  /// Takes one step's loads; returns experts unused for exactly the configured number of steps,
  /// once each time, and warns about them and about overloaded ones (again only after they
  /// recovered).
  std::vector<DeadExpert> observe(const std::vector<LayerLoad>& layers, int64_t step);

  /// Steps since each expert was last used, layers in a row; for checkpoints.
  std::vector<int64_t> state() const;
  void restore(const std::vector<int64_t>& state);

 private:
  void warn(const std::string& text) const;

  MonitorOptions options_;
  bool warns_;
  std::vector<std::vector<int64_t>> unused_;
  std::vector<int64_t> restored_;
  std::set<std::pair<int64_t, int64_t>> overloaded_;
};

}  // namespace moe::train
