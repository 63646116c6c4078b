#pragma once

#include <moe/balance/term.h>

namespace moe {

/// The mean probabilities' absolute deviation from 1/E.
struct AbsoluteDeviationLoss {
  double coefficient = 0.01;

  template <class Visitor>
  void fields(Visitor&) {}
  operator BalanceSpec() const { return balance::balance_spec_of("absolute_deviation", *this); }
};

}  // namespace moe
