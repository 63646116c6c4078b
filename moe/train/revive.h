#pragma once

#include <moe/train/monitor.h>
#include <moe/train/optimizer.h>

namespace moe::train {

/// Starts a dead expert again (B20): its parameters and its router row become those of the busiest
/// expert of its layer with 1 % noise, and its optimizer moments zero. For experts that are all on
/// this rank; an expert that is a module of other shapes than the busiest one stays as it is, with
/// a warning.
void revive(const DeadExpert& dead, const AdamW& optimizer, uint64_t seed, int64_t step);

}  // namespace moe::train
