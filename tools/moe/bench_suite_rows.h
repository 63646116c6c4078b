#pragma once
// What `moe bench suite` times.

#include <vector>

#include <moe/ops/cpu/instruction_set.h>

#include "tools/moe/bench_work.h"

namespace moe::tools {

/// The parts of the suite. table: shapes from decoding to training, against the dense block. skew:
/// tokens that crowd into few experts. scaling: ever more experts. sets: instruction sets in turn.
/// paths: the table's layers by the kernels chosen for this processor and by every other set.
std::vector<std::string> suite_groups();

/// One measurement: the layer against its dense block, with `sets` under each of these in turn, or
/// in the group "paths" as chosen and under every other set.
struct SuiteRow {
  std::string group;
  LayerBench layer;
  std::vector<ops::cpu::InstructionSet> sets;
};

/// The rows of the groups named, in order; `full`: with every mode, type and step. All widths,
/// tokens and experts are divided by `smaller`.
std::vector<SuiteRow> suite_rows(const std::vector<std::string>& groups, bool full,
                                 int64_t smaller);

}  // namespace moe::tools
