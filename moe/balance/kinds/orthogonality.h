#pragma once

#include <string>

#include <moe/balance/term.h>

namespace moe {

/// Pushes experts' weights, or the router's rows, apart.
struct OrthogonalityLoss {
  double coefficient = 0.01;
  std::string of = "router";
  std::string form = "squared";

  template <class Visitor>
  void fields(Visitor& v) {
    v("of", of,
      "whose weights are pushed apart: each expert's row of the \"router\"'s weight, or all "
      "matrices of each of the \"experts\" (costs a copy of them in each call, over ranks too)");
    v("form", form,
      "\"squared\" cosines, which are smallest when weights are orthogonal, or \"signed\" ones, "
      "which reward opposite weights too");
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("orthogonality", *this); }
};

}  // namespace moe
