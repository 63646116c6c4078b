#pragma once
// What one run of a study measured. E experts. No tensors.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <moe/analyze/run_log.h>

namespace moe::study {

/// One MoE layer: means over the last quarter of the logged steps.
struct LayerFigures {
  int64_t layer = 0;
  double max_over_mean = 0, entropy = 0;
  /// Experts without a token in a step.
  double unused = 0;
  /// Pairs that found no room, a token.
  double dropped = 0;
  std::vector<double> load_E = {};
};

/// How uneven a step was: the largest of all layers' max over mean.
struct Crowding {
  int64_t step = 0;
  double max_over_mean = 0;
};

struct RunResult {
  std::string variant = {};
  int64_t seed = 0;
  /// Why there are no figures; "" when there are.
  std::string failure = {};
  int64_t steps = 0, tokens = 0;
  /// Of the last evaluation, and all of them.
  double loss = 0;
  std::vector<analyze::LossPoint> losses = {};
  /// The last evaluation's, by domain.
  std::vector<std::pair<std::string, double>> domains = {};
  /// Spent on training and evaluation: by the clock, and by this process's threads.
  double seconds = 0, cpu_seconds = 0;
  /// Median rate of the steps, evaluations not counted: a second of processor time where one thread
  /// computed, which other programs on the machine hardly change; by the clock with several.
  double tokens_per_second = 0;
  /// Most memory of tensors at once, in bytes; 0 where the process does not count it.
  int64_t peak_bytes = 0;
  std::vector<LayerFigures> layers = {};
  std::vector<Crowding> crowding = {};
};

/// The median of those that are finite; NaN without any.
double median_of(std::vector<double> values);

/// The figures of a run that logged `log`. Throws moe::Error where it has no evaluation.
RunResult figures_of(const analyze::RunLog& log);

/// As JSON, and back. parse_result throws moe::Error, calling the document `source`, for anything
/// else.
std::string write_result(const RunResult& result);
RunResult parse_result(std::string_view json, const std::string& source);

}  // namespace moe::study
