#pragma once

#include <moe/balance/term.h>

namespace moe {

/// Importance (Shazeer et al. 2017): how unequal the sums of probabilities are.
struct ImportanceLoss {
  double coefficient = 0.01;

  template <class Visitor>
  void fields(Visitor&) {}
  operator BalanceSpec() const { return balance::balance_spec_of("importance", *this); }
};

}  // namespace moe
