#pragma once
// How `moe analyze` shows RoutingStatistics and what a run logged.

#include <moe/analyze/metric_summary.h>
#include <moe/analyze/statistics.h>
#include <moe/data/tokenizer.h>

#include "tools/moe/common.h"

namespace moe::tools {

/// How much of each list to show.
struct ListLengths {
  int64_t tokens = 5;
  int64_t pairs = 5;
};

Json statistics_json(const analyze::RoutingStatistics& statistics, const data::Tokenizer& tokenizer,
                     const ListLengths& lengths);
void print_statistics(const analyze::RoutingStatistics& statistics,
                      const data::Tokenizer& tokenizer, const ListLengths& lengths);

/// {name: {"count", "mean", "std", "min", "max", "last", "not_finite"}}.
Json metrics_json(const analyze::MetricSummary& summary);

}  // namespace moe::tools
