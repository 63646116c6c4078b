#pragma once

#include "tools/moe/command.h"

namespace moe::tools {

/// Adds `suite` and `report` to the group `bench`.
void add_bench_suite(CLI::App& group, Session& session);
void add_bench_report(CLI::App& group, Session& session);

}  // namespace moe::tools
