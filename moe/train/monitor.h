#pragma once

#include <vector>

#include <moe/train/options.h>
#include <moe/train/step.h>
#include <moe/train/warnings.h>

namespace moe::train {

/// An expert that got no token for too long.
struct DeadExpert {
  int64_t layer = 0;  // number of the block
  int64_t expert = 0;
  int64_t busiest = 0;  // the expert of the layer with most tokens in the last step
};

/// What metrics.jsonl says of single experts of a layer that routes.
struct ExpertNews {
  /// Experts without a token for monitor.unused_steps or more, and for how many.
  std::vector<int64_t> unused_experts, unused_steps;
  /// Experts that were started again in this step, and those they were started from.
  std::vector<int64_t> revived, revived_from;
};

/// Watches the load of experts. Its counters are part of the run's state.
class ExpertMonitor {
 public:
  /// `warnings` hears of what it sees, if there is one; it must live as long.
  explicit ExpertMonitor(const MonitorOptions& options, PeriodicWarnings* warnings = nullptr);

  /// Takes one step's loads; returns experts unused for exactly the configured number of steps,
  /// once each time, and warns about those that are unused for longer and about overloaded ones.
  std::vector<DeadExpert> observe(const std::vector<LayerLoad>& layers, int64_t step);
  /// Of the layers that observe() saw last, in its order; `revived` is what became of its answer.
  std::vector<ExpertNews> news(const std::vector<DeadExpert>& revived) const;

  /// Steps since each expert was last used, layers in a row; for checkpoints.
  std::vector<int64_t> state() const;
  void restore(const std::vector<int64_t>& state);

 private:
  void warn_of_unused(int64_t layer, int64_t expert, int64_t steps) const;
  void warn_of_overload(int64_t layer, int64_t expert, double times, int64_t step) const;

  MonitorOptions options_;
  PeriodicWarnings* warnings_;
  int64_t told_after_;  // steps without a token
  PeriodicWarnings::Kind unused_kind_, overload_kind_;
  std::vector<int64_t> layers_;  // numbers of their blocks
  std::vector<std::vector<int64_t>> unused_;
  std::vector<int64_t> restored_;
};

}  // namespace moe::train
