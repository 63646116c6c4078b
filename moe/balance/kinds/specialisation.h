#pragma once

#include <string>

#include <moe/balance/term.h>

namespace moe {

/// Rewards experts that tell tokens, or domains, apart.
struct SpecialisationLoss {
  double coefficient = 0.01;
  std::string over = "tokens";

  template <class Visitor>
  void fields(Visitor& v) {
    v("over", over,
      "what the expert should tell apart: \"tokens\", or the \"domains\" that the data says they "
      "come from");
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("specialisation", *this); }
};

}  // namespace moe
