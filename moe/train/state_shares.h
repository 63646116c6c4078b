#pragma once
// Which rank keeps the optimizer's state of which parameter (ZeRO stage 1). W ranks.

#include <functional>
#include <vector>

#include <moe/parallel/layout.h>
#include <moe/parameters/list.h>

namespace moe::train {

/// Rows of a tensor, an expert's each: `count` of them from `first` on, or, where the count is
/// negative, all of a tensor of any shape.
struct Rows {
  int64_t first = 0;
  int64_t count = -1;

  bool all() const { return count < 0; }
  bool none() const { return count == 0; }
  /// A view.
  Tensor of(const Tensor& tensor) const { return all() ? tensor : tensor.narrow(0, first, count); }
  /// Those of both.
  Rows within(const Rows& others) const;
};

/// How the ranks of a run keep the optimizer's state.
struct StateSharing {
  parallel::Layout layout = {};
  /// Each parameter's on one of the ranks that have the parameter; false: on each of them.
  bool shared_out = false;
};

/// Shares out the state of parameters over the ranks that hold the same ones: the world for what
/// all tokens share, the data group for experts. Whole parameters go to one rank each, the largest
/// first, to the rank that has least so far; one that is larger than a rank's fair share is cut
/// into rows, an even part for each rank, where its kind of optimizer treats rows apart. A rank
/// updates what it keeps the state of, and hands the new numbers to the others, so that W ranks
/// need 1/W of the memory and update what they would alone (Rajbhandari et al. 2020, P_os; whole
/// parameters as in torch's ZeroRedundancyOptimizer).
///
/// Shared out or not, copies of other ranks' experts (ExpertPlacement) have no state: their rows
/// come last, and get the owner's new numbers.
class StateShares {
 public:
  /// Whether updates of a parameter's rows (dimension 0) do not depend on one another.
  using RowsApart = std::function<bool(const Parameter&)>;

  /// Throws ConfigError for copies of experts whose updates are not apart.
  StateShares(const Parameters& parameters, const StateSharing& sharing,
              const RowsApart& rows_apart);

  /// The rows of parameter number `index` whose state is on this rank.
  Rows here(size_t index) const { return of_rank(index, rank_of(index)); }
  /// Zeros in the shape of these rows.
  Tensor zeros(size_t index) const;
  /// Rows `rows` of parameter number `index`, which are within here(index), in a state that zeros
  /// made.
  Tensor part(const Tensor& state, size_t index, const Rows& rows) const;
  /// The state as a checkpoint keeps it, under `name`: this rank's rows, perhaps none, of the
  /// whole.
  Parameter entry(const std::string& name, size_t index, const Tensor& state) const;
  /// Hands the rows that each rank keeps the state of, of the parameters `changed`, to the others,
  /// and the owners' experts to copies. All ranks of a data group call it with the same parameters.
  void hand_out(const std::vector<size_t>& changed) const;

 private:
  /// How the state of one parameter is shared out.
  struct Share {
    enum { kEverywhere, kOneRank, kByRows } how = kEverywhere;
    int64_t owner = 0;
  };

  void share_out(const parallel::Communicator& group, bool of_experts, const RowsApart& rows_apart);
  const parallel::Communicator& group_of(size_t index) const;
  int64_t rank_of(size_t index) const { return group_of(index).rank(); }
  Rows of_rank(size_t index, int64_t rank) const;
  /// Of a parameter, copies left out.
  int64_t own_numbers(size_t index) const;
  void hand_out(const std::vector<size_t>& bucket, parallel::Communicator& group) const;

  Parameters parameters_;
  parallel::Layout layout_;
  std::vector<Share> shares_;
};

}  // namespace moe::train
