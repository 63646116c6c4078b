#pragma once

#include "tools/moe/command.h"

namespace moe::tools {

/// Adds `tokenize` to the group `bench`.
void add_bench_tokenize(CLI::App& group, Session& session);

}  // namespace moe::tools
