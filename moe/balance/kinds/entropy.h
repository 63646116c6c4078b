#pragma once

#include <moe/balance/term.h>

namespace moe {

/// The negative entropy of the mean probabilities.
struct EntropyLoss {
  double coefficient = 0.01;

  template <class Visitor>
  void fields(Visitor&) {}
  operator BalanceSpec() const { return balance::balance_spec_of("entropy", *this); }
};

}  // namespace moe
