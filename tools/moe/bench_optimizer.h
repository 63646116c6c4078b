#pragma once

#include "tools/moe/command.h"

namespace moe::tools {

/// Adds `optimizer` to the group `bench`.
void add_bench_optimizer(CLI::App& group, Session& session);

}  // namespace moe::tools
