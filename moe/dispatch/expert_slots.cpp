// N pairs, E experts, W ranks, S slots.
#include <numeric>

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/dispatch/expert_slots.h>
#include <moe/ops/order.h>
#include <moe/parallel/layout.h>

namespace moe::dispatch {

ExpertSlots::ExpertSlots(int64_t num_experts, const parallel::Communicator& group,
                         std::shared_ptr<const ExpertPlacement> placement, std::string_view place)
    : experts_(num_experts), rank_(group.rank()), placement_(std::move(placement)) {
  const int64_t W = group.size();
  for (int64_t w = 0; w < W && !placement_; ++w)
    held_W_.push_back(parallel::share_of(experts_, W, w).count);
  if (placement_) {
    check<ConfigError>(placement_->experts() == experts_ && placement_->ranks() == W, place,
                       "expected a placement of ", experts_, " experts on ", W,
                       " ranks, got one of ", placement_->experts(), " on ", placement_->ranks(),
                       ". Make one for this layer and these ranks.");
    for (int64_t w = 0; w < W; ++w)
      held_W_.push_back(static_cast<int64_t>(placement_->held_by(w).size()));
  }
  for (const int64_t held : held_W_) begin_W1_.push_back(begin_W1_.back() + held);
  if (!placement_) return;
  std::vector<int64_t> first_E1, copies_E1, slot;
  for (int64_t e = 0; e < experts_; ++e) {
    first_E1.push_back(static_cast<int64_t>(slot.size()));
    copies_E1.push_back(static_cast<int64_t>(placement_->ranks_of(e).size()));
    for (const int64_t w : placement_->ranks_of(e))
      slot.push_back(begin_W1_[static_cast<size_t>(w)] + placement_->row_of(e, w));
  }
  first_E1.push_back(static_cast<int64_t>(slot.size()));
  copies_E1.push_back(1);
  slot.push_back(slots());
  first_E1_ = at::tensor(first_E1, at::kLong);
  copies_E1_ = at::tensor(copies_E1, at::kLong);
  slot_ = at::tensor(slot, at::kLong);
}

std::vector<int64_t> ExpertSlots::experts_of(int64_t rank) const {
  if (placement_) return placement_->held_by(rank);
  const auto [first, count] =
      parallel::share_of(experts_, static_cast<int64_t>(held_W_.size()), rank);
  std::vector<int64_t> out(static_cast<size_t>(count));
  std::iota(out.begin(), out.end(), first);
  return out;
}

Routing ExpertSlots::by_slot(const Routing& routing, std::string_view place) const {
  check(routing.num_experts == experts_, place, "expected a routing over ", experts_,
        " experts, got one over ", routing.num_experts,
        ". Make router and dispatcher for the same number of experts.");
  if (!placement_) return routing;
  const auto on_device = [&](const Tensor& table) { return table.to(routing.experts_N.device()); };
  const Tensor& expert_N = routing.experts_N;
  Tensor entry_N = on_device(first_E1_).index_select(0, expert_N);
  if (placement_->has_copies()) {
    // Which of this rank's pairs of its expert each is, in the order of tokens.
    const ops::Order order = ops::counting_sort(routing.experts_N, experts_);
    const Tensor begin_N = order.offsets_E.index_select(0, expert_N);
    const Tensor turn_N = (order.position_N - begin_N + rank_)
                              .remainder(on_device(copies_E1_).index_select(0, expert_N));
    entry_N = entry_N + turn_N;
  }
  Routing out = routing;
  out.num_experts = slots();
  out.experts_N = on_device(slot_).index_select(0, entry_N);
  return out;
}

}  // namespace moe::dispatch
