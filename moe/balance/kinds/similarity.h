#pragma once

#include <string>

#include <moe/balance/term.h>

namespace moe {

/// SimBal: a router that keeps similar tokens similar (Omi et al. 2025).
struct SimilarityLoss {
  double coefficient = 0.1;

  template <class Visitor>
  void fields(Visitor& /*v*/) {}
  operator BalanceSpec() const { return balance::balance_spec_of("similarity", *this); }
};

}  // namespace moe
