#pragma once

#include <string>

#include <moe/balance/term.h>

namespace moe {

/// The adaptive L1 loss that keeps a relu router as sparse as top_k says (ReMoE).
struct ReluL1Loss {
  double coefficient = 1;
  bool balanced = true;
  double start = 1e-8;
  double factor = 1.2;

  template <class Visitor>
  void fields(Visitor& v) {
    v("balanced", balanced,
      "weigh each expert's part by its load, which balances too; false: the plain L1 norm");
    v("start", start, "where the loss's own factor lambda starts");
    v("factor", factor,
      "what lambda is multiplied or divided by after each step, as more or fewer than top_k "
      "experts "
      "a token worked");
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("relu_l1", *this); }
};

}  // namespace moe
