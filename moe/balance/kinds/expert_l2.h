#pragma once

#include <moe/balance/term.h>

namespace moe {

/// Weight decay of the experts alone.
struct ExpertL2Loss {
  double coefficient = 0.01;
  bool biases = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("biases", biases, "count the experts' biases too, not their matrices only");
  }
  operator BalanceSpec() const { return balance::balance_spec_of("expert_l2", *this); }
};

}  // namespace moe
