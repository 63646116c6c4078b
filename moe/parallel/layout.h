#pragma once
// How the ranks of a run share its work. W ranks in all, X of them share the experts of a layer, E
// experts.

#include <map>
#include <memory>

#include <moe/parallel/communicator.h>
#include <moe/parallel/exchange.h>
#include <moe/parameters/expert_placement.h>

namespace moe::parallel {

struct ParallelOptions;

/// Numbers [first, first + count).
struct Range {
  int64_t first = 0;
  int64_t count = 0;

  int64_t end() const { return first + count; }
  bool operator==(const Range&) const = default;
};

/// The part of `items` that belongs to `part` of `parts`: neighbours, as even as it goes. The first
/// items mod parts parts have one more; where there are fewer items than parts, the last parts have
/// none. Who holds which experts, rows of a state or rows of a file is always this. Throws
/// moe::Error for a part that there is not.
Range share_of(int64_t items, int64_t parts, int64_t part);
/// The part that item number `item` belongs to.
int64_t owner_of(int64_t item, int64_t items, int64_t parts);

/// By the number of a block, which ranks of an expert group hold which of its experts.
using Placements = std::map<int64_t, std::shared_ptr<const ExpertPlacement>>;

/// The ranks of a run in groups: expert parallel × data parallel. Every rank trains on tokens of
/// its own. The X ranks of an expert group hold the experts of each layer together, each
/// share_of(E, X, rank) or what a placement says, and exchange rows with one another; the W / X
/// data groups are copies of that. Ranks that hold the same experts form a data group: there, and
/// only there, the gradients of experts are added. All else (replicated parameters, losses, counts,
/// balance) is of the world.
///
/// Neighbours share experts: world rank r is rank r mod X of its expert group and rank r / X of its
/// data group. Launchers number ranks host by host, so the exchange of rows, which happens twice a
/// layer, stays inside hosts where X divides the ranks of one, and what crosses hosts is the sum of
/// gradients, once a step.
struct Layout {
  /// One rank.
  Layout() = default;
  /// All ranks share the experts.
  Layout(std::shared_ptr<Communicator> all);  // NOLINT(google-explicit-constructor)

  /// Groups of `experts` ranks that share the experts, and `data` of these; 0: as many as the other
  /// number leaves, all ranks share the experts where neither is given. All ranks of `world` call
  /// it. Throws ConfigError unless experts · data = W.
  static Layout of(std::shared_ptr<Communicator> world, int64_t experts, int64_t data = 0);
  /// The same, and how rows are exchanged.
  static Layout of(std::shared_ptr<Communicator> world, const ParallelOptions& options);

  std::shared_ptr<Communicator> world = local();
  std::shared_ptr<Communicator> experts = local();
  std::shared_ptr<Communicator> data = local();
  /// The same on all ranks; null, and for blocks that it does not name: share_of.
  std::shared_ptr<const Placements> placements = {};
  /// Of the block that the layout was handed to (for_block); null: share_of.
  std::shared_ptr<const ExpertPlacement> placement = {};
  ExchangeSettings exchange = {};

  /// This layout for what a block holds.
  Layout for_block(int64_t block) const;
  /// This rank's of `count` experts, where no placement says it.
  Range experts_of(int64_t count) const {
    return share_of(count, experts->size(), experts->rank());
  }
  /// Rank 0 of the world.
  bool leads() const { return world->rank() == 0; }
  /// Whether this rank is the first of those that hold its experts: it counts them, and writes
  /// them.
  bool first_copy() const { return data->rank() == 0; }
};

}  // namespace moe::parallel
