#pragma once
// Whether the kernels chosen for this processor are the fastest that the program has.

#include <string>
#include <vector>

#include "tools/moe/bench_timing.h"

namespace moe::tools {

/// A choice may be so much slower than another set before it counts as wrong: less is noise.
inline constexpr double kChoiceTolerance = 1.05;

/// A layer by one set of kernels.
struct PathTime {
  std::string set;
  double ms = 0;
  /// Far from the fastest after one pass, and not timed again.
  bool once = false;
};

/// A layer by the kernels that are chosen for it and by every other set of this processor.
struct PathComparison {
  Work layer;
  Timing timing;       // of the chosen ones
  std::string chosen;  // the set that runs the experts
  std::vector<PathTime> others;

  /// Of the others, of which there is one at least.
  const PathTime& fastest_other() const;
  double over_fastest() const { return timing.median() / fastest_other().ms; }
  bool is_slow() const { return over_fastest() > kChoiceTolerance; }
};

/// Times them in turn.
PathComparison compare_paths(const LayerBench& layer, const Repeats& repeats);

/// "chosen", "fastest_other", "over_fastest", "slower_than_another" and "others".
Json paths_json(const PathComparison& paths);
std::string paths_text(const PathComparison& paths);

}  // namespace moe::tools
