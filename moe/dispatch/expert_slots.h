#pragma once
// T tokens, N pairs, E experts, W ranks, S slots: the experts of all ranks behind one another,
// copies among them.

#include <memory>
#include <vector>

#include <moe/flow/routing.h>
#include <moe/parallel/communicator.h>
#include <moe/parameters/expert_placement.h>

namespace moe::dispatch {

/// Where each pair of a rank goes, as numbers of slots: rank w has slots begin_W1[w] ..
/// begin_W1[w + 1], one for each expert that it holds, in its order. The tokens of an expert that
/// several ranks hold are dealt out in their order, one to each of these ranks in turn, so that
/// they get as many, but for one of each sending rank; sender w begins with copy w.
class ExpertSlots {
 public:
  /// `placement` null: rank w of the group holds parallel::share_of(num_experts, W, w). Throws
  /// ConfigError, naming `place`, for a placement of other experts or ranks.
  ExpertSlots(int64_t num_experts, const parallel::Communicator& group,
              std::shared_ptr<const ExpertPlacement> placement, std::string_view place);

  int64_t slots() const { return begin_W1_.back(); }
  /// (W,) slots of each rank; (W+1,) the first of each, and how many there are.
  const std::vector<int64_t>& held_W() const { return held_W_; }
  const std::vector<int64_t>& begin_W1() const { return begin_W1_; }
  /// The experts of rank `rank` in the order of its slots.
  std::vector<int64_t> experts_of(int64_t rank) const;

  /// `routing` over slots instead of experts; dropped pairs stay dropped. Throws moe::Error, naming
  /// `place`, for a routing over another number of experts.
  Routing by_slot(const Routing& routing, std::string_view place) const;

 private:
  int64_t experts_, rank_;
  std::shared_ptr<const ExpertPlacement> placement_;
  std::vector<int64_t> held_W_, begin_W1_ = {0};
  /// With a placement: the first entry of each expert in slot_ and how many it has, and behind them
  /// those of dropped pairs; the slots of each expert's ranks, owner first.
  Tensor first_E1_, copies_E1_, slot_;
};

}  // namespace moe::dispatch
