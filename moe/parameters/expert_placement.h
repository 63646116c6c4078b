#pragma once
// E experts, W ranks.

#include <cstdint>
#include <vector>

namespace moe {

/// Which of the W ranks that share the experts of a layer hold which: each expert has one owner,
/// and further ranks may hold copies of it. Owner and copies share its tokens. The gradients of
/// copies go to the owner, which alone has the expert's optimizer state, updates it, hands the new
/// numbers to the copies and writes it into checkpoints.
class ExpertPlacement {
 public:
  /// ranks_E[e]: the ranks that hold expert e, its owner first. Throws moe::Error for an expert
  /// without ranks, ranks outside of [0, W) and one named twice.
  ExpertPlacement(std::vector<std::vector<int64_t>> ranks_E, int64_t ranks);

  int64_t experts() const { return static_cast<int64_t>(ranks_E_.size()); }
  int64_t ranks() const { return static_cast<int64_t>(held_W_.size()); }
  /// The owner first.
  const std::vector<int64_t>& ranks_of(int64_t expert) const {
    return ranks_E_[static_cast<size_t>(expert)];
  }
  int64_t owner_of(int64_t expert) const { return ranks_of(expert).front(); }
  /// The experts on a rank in the order in which it holds them: its own, then copies, each in the
  /// order of their numbers; it may have none.
  const std::vector<int64_t>& held_by(int64_t rank) const {
    return held_W_[static_cast<size_t>(rank)];
  }
  /// How many of these are its own.
  int64_t own_of(int64_t rank) const { return own_W_[static_cast<size_t>(rank)]; }
  /// Where `expert` stands in held_by(rank); -1: the rank does not hold it.
  int64_t row_of(int64_t expert, int64_t rank) const;
  bool has_copies() const { return has_copies_; }

 private:
  std::vector<std::vector<int64_t>> ranks_E_, held_W_;
  std::vector<int64_t> own_W_;
  bool has_copies_ = false;
};

}  // namespace moe
