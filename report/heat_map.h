#pragma once
// Pictures of load: colours for "more than its even share" and "less".

#include <string>

#include <moe/analyze/run_log.h>

namespace moe::report {

/// A step of the scale from a quarter of the even share to four times it, in equal factors:
/// 0 for nothing at all, 1 for <= 1/4, 13 for >= 4, 7 for even; -1 for a ratio that is not finite.
int heat_level(double ratio);
inline constexpr int kHeatLevels = 14;

/// The load of one layer over time as one <svg>: a column a stretch of logged steps (the mean of
/// their loads), a row an expert. `index` is the layer's place among the MoE layers. data-ratio
/// holds load times E in percent, columns apart by spaces and rows by semicolons. "" when the log
/// has no step with that layer.
std::string load_map(const analyze::RunLog& log, size_t index, size_t columns);

/// Columns for all maps of a run together to stay small.
size_t load_map_columns(const analyze::RunLog& log);

/// The scale, to stand beside maps and tables.
std::string heat_legend();

}  // namespace moe::report
