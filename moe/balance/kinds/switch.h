#pragma once

#include <string>

#include <moe/balance/term.h>

namespace moe {

/// The auxiliary loss of Switch and GShard: load times probability.
struct SwitchLoss {
  double coefficient = 0.01;
  std::string scope = "batch";
  bool normalise = true;

  template <class Visitor>
  void fields(Visitor& v) {
    v("scope", scope,
      "where f and P are taken: the micro-\"batch\" over all ranks, each \"sequence\", or "
      "\"global\": f over all "
      "micro-batches of the optimizer step so far");
    v("normalise", normalise,
      "divide each token's scores by their sum first (sigmoid scores need it)");
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("switch", *this); }
};

}  // namespace moe
