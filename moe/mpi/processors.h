#pragma once

#include <cstdint>
#include <sched.h>
#include <vector>

namespace moe::parallel {

/// What a rank gets of its machine's processors.
struct ProcessorShare {
  /// The processors to bind it to; empty: leave it where it is.
  std::vector<int> bind = {};
  int64_t threads = 1;
};

/// The share of rank `mine` of the ranks of one machine, of which each may use those of its mask.
/// Ranks that all may use the same ones get neighbours of them each, if they are enough; `order` is
/// all processors of the machine, such that neighbours share the most (cores, caches). Where the
/// launcher gave a rank processors of its own it keeps them.
ProcessorShare share_of_processors(const std::vector<cpu_set_t>& masks, size_t mine,
                                   const std::vector<int>& order);

/// The processors of this machine by package and core.
std::vector<int> processors_by_core();

}  // namespace moe::parallel
