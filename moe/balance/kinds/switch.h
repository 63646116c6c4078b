#pragma once

#include <string>

#include <moe/balance/term.h>

namespace moe {

/// The auxiliary loss of Switch and GShard: load times probability.
struct SwitchLoss {
  double coefficient = 0.01;
  std::string scope = "batch";
  bool normalise = true;
  std::string counts = "all";
  bool by_cost = false;
  double free_weight = 1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("scope", scope,
      "where f and P are taken: the micro-\"batch\" over all ranks, each \"sequence\", or "
      "\"global\": f over all "
      "micro-batches of the optimizer step so far");
    v("normalise", normalise,
      "divide each token's scores by their sum first (sigmoid scores need it)");
    v("counts", counts,
      "which choices f counts: \"all\" of a token, or its \"first\" (GShard's top-2 gating)");
    v("by_cost", by_cost,
      "weigh each expert's f by what a token costs there, over the mean of all (the parameter "
      "penalty of HMoE, for experts of different widths)");
    v("free_weight", free_weight,
      "weight of experts that compute no product (zero, identity, constant) beside 1 for the "
      "others, in (0, 1]: below 1 they may take more tokens (MoE++)");
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("switch", *this); }
};

}  // namespace moe
