#pragma once

#include <string>

#include <moe/balance/term.h>

namespace moe {

/// The variance of usage averaged over steps.
struct UsageVarianceLoss {
  double coefficient = 0.01;
  std::string average = "exponential";
  double decay = 0.99;

  template <class Visitor>
  void fields(Visitor& v) {
    v("average", average,
      "how usage runs over optimizer steps: \"exponential\", or \"cumulative\" (the mean of all "
      "steps so far)");
    v("decay", decay,
      "weight of the past in the exponential average, in [0, 1); gradients are those of the "
      "present's share, 1 - decay");
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("usage_variance", *this); }
};

}  // namespace moe
