#pragma once

#include <string>

#include <moe/balance/scope.h>

namespace moe {

/// Importance (Shazeer et al. 2017): how unequal the sums of probabilities are.
struct ImportanceLoss {
  double coefficient = 0.01;
  std::string scope = "batch";

  template <class Visitor>
  void fields(Visitor& v) {
    balance::scope_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("importance", *this); }
};

}  // namespace moe
