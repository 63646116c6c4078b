#pragma once

#include <memory>
#include <vector>

#include <moe/mpi/world.h>

namespace moe::parallel {

/// A group of ranks of the world, as one of them sees it.
struct MpiGroup {
  std::shared_ptr<MpiWorld> world;
  /// No two groups that a rank is in have the same; 0: all ranks.
  int64_t number = 0;
  /// members[r]: the rank in the world of the group's rank r.
  std::vector<int64_t> members;
  int64_t rank = 0;
  // How many collectives were started, and have got past each of their two exchanges; all ranks
  // pass them in one order, so that what is sent first is received first.
  int64_t started = 0, exchanged = 0, gathered = 0;

  int64_t size() const { return static_cast<int64_t>(members.size()); }
};

}  // namespace moe::parallel
