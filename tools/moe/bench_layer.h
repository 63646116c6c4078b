#pragma once

#include "tools/moe/bench_timing.h"

namespace moe::tools {

/// Adds `layer` and `dense` to the group `bench`.
void add_bench_layer(CLI::App& group, Session& session);

// What other benches share with them.

/// --repeat and --warmup.
void add_repeats(CLI::App& app, BenchCommon& o);
/// Those, --dtype, --device, --threads, --seed and --json.
void add_bench_common(CLI::App& app, BenchCommon& o);
/// --tokens, --d-model, --d-ff, --top-k and --expert.
void add_layer_shape(CLI::App& app, LayerBench& o);
void print_timing(const Timing& timing, const Work& work);

}  // namespace moe::tools
