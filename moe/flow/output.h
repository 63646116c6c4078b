#pragma once
// T tokens, D width, E experts, X ranks that share them.

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <moe/flow/routing.h>

namespace moe {

using at::Tensor;

/// One balance term of one layer.
struct BalanceValue {
  std::string name;
  double coefficient = 0;
  /// () before the coefficient, over all ranks; its gradient reaches this rank's tokens only.
  Tensor value;
  /// What it added up over all ranks, without gradient, for terms that go on adding over the
  /// micro-batches of a step; undefined for others.
  Tensor sums = {};
};

/// What a layer reports about its routing, summed over all ranks.
struct BalanceReport {
  std::vector<BalanceValue> terms;
  /// (E,) float64: pairs per expert.
  Tensor load_E;
  /// () float64: pairs dropped by capacity; tokens.
  Tensor dropped, tokens;
  /// (R,) float64: Routing::record_R; undefined where the router keeps none.
  Tensor record_R;
  /// (X + 2,) float64: rows that went to each of the X ranks that share the experts, those that
  /// stayed among them; rows to another rank than the sender; rows to a rank on another machine.
  /// One way, of one forward pass. Undefined where one rank holds all experts.
  Tensor rows_X2;

  /// () sum of coefficient * value; a zero when there is no term.
  Tensor loss() const;
};

/// Result of a feed-forward block. Where nothing was routed, balance and routing are empty.
struct FeedForwardOutput {
  /// (T, D), or the shape of the input where that was not a list of tokens.
  Tensor hidden_TD;
  BalanceReport balance = {};
  Routing routing = {};
};

/// What one layer of a model that routes did.
struct LayerReport {
  int64_t layer = 0;
  BalanceReport balance;
  Routing routing;
};

}  // namespace moe
