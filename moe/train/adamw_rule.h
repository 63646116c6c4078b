#pragma once
// P parameters.

#include <compare>
#include <map>
#include <set>
#include <vector>

#include <moe/parameters/list.h>
#include <moe/train/optimizer.h>
#include <moe/train/optimizers/adamw.h>

namespace moe::train {

/// The update of AdamW for some of an optimizer's parameters, with its state. One fused call of
/// libtorch for all parameters of equal rates: one pass over parameter, gradient and moments, which
/// also multiplies the gradients.
class AdamWRule {
 public:
  /// For those of `parameters` whose numbers are `indices`; `shares`, which says what of their
  /// state is here, outlives the rule.
  AdamWRule(const Parameters& parameters, const std::vector<size_t>& indices, const AdamW& rates,
            const StateShares& shares);

  /// Collects the update of parameter number `index`, which has a gradient, or of some of its rows;
  /// `finish` makes all, with gradients times `gradient_factor`, and counts one update of each
  /// parameter.
  void add(size_t index, double lr, double weight_decay, const Rows& rows = {});
  void finish(double gradient_factor = 1);

  /// Adds the moments ("NAME.exp_avg", "NAME.exp_avg_sq") and the number of updates that each
  /// parameter has seen ("steps" (P,); "NAME.steps" () for parameters of one expert, which differ
  /// from rank to rank).
  void add_state(Parameters& out) const;
  /// Of parameter number `index`; empty for one that is another's.
  std::vector<Tensor> moments(size_t index) const;

 private:
  struct Slot {
    Parameter parameter;
    Tensor exp_avg, exp_avg_sq, step;
  };
  struct Rates {
    double lr, weight_decay;
    at::ScalarType type;
    auto operator<=>(const Rates&) const = default;
  };
  struct Group {
    std::vector<Tensor> parameters, gradients, exp_avg, exp_avg_sq, steps;
  };

  AdamW rates_;
  const StateShares& shares_;
  Tensor steps_P_;  // of all but single experts
  std::map<size_t, Slot> slots_;
  std::map<Rates, Group> groups_;
  std::set<size_t> counted_;  // whose update is counted already
};

/// AdamW for every parameter: what the kinds that differ in the rows they change share.
class AdamWOptimizer : public Optimizer {
 public:
  AdamWOptimizer(const OptimizerShape& shape, const AdamW& rates);

  Parameters state() const override;
  std::vector<Tensor> moments(size_t index) const override { return rule_.moments(index); }

 protected:
  void update(const std::vector<Change>& changes) override;
  bool multiplies_gradients() const override { return true; }

 private:
  AdamWRule rule_;
};

}  // namespace moe::train
