#pragma once

#include <string>

#include <moe/balance/term.h>

namespace moe {

/// Balance within each sequence (DeepSeek-V3).
struct SequenceLoss {
  double coefficient = 0.01;
  std::string counts = "routing";

  template <class Visitor>
  void fields(Visitor& v) {
    v("counts", counts,
      "f counts the pairs of the \"routing\" that happened, or each token's K largest \"scores\" "
      "before selection bias and group limits (the paper's equation)");
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("sequence", *this); }
};

}  // namespace moe
