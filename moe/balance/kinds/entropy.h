#pragma once

#include <string>

#include <moe/balance/scope.h>

namespace moe {

/// The negative entropy of the mean probabilities.
struct EntropyLoss {
  double coefficient = 0.01;
  std::string scope = "batch";

  template <class Visitor>
  void fields(Visitor& v) {
    balance::scope_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("entropy", *this); }
};

}  // namespace moe
