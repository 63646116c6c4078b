#pragma once

#include <moe/balance/term.h>

namespace moe {

/// Keeps tokens from spreading over all experts (the dynamic loss of Huang et al. 2024).
struct TokenEntropyLoss {
  double coefficient = 0.01;

  template <class Visitor>
  void fields(Visitor&) {}
  operator BalanceSpec() const { return balance::balance_spec_of("token_entropy", *this); }
};

}  // namespace moe
