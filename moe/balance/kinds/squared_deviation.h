#pragma once

#include <string>

#include <moe/balance/scope.h>

namespace moe {

/// The mean probabilities' squared deviation from 1/E.
struct SquaredDeviationLoss {
  double coefficient = 0.01;
  std::string form = "sum";
  std::string scope = "batch";

  template <class Visitor>
  void fields(Visitor& v) {
    balance::scope_field(*this, v);
    v("form", form,
      "\"sum\" of the squared deviations over experts, or their \"mean\" (mean squared error)");
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("squared_deviation", *this); }
};

}  // namespace moe
