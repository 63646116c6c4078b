#pragma once

#include <string>

#include <moe/balance/term.h>

namespace moe {

/// DynMoE's diverse and simple gating loss: experts' embeddings orthogonal and short.
struct GateDiversityLoss {
  double coefficient = 0.01;
  double diversity = 1;
  double simplicity = 1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("diversity", diversity, "factor of the distance of the embeddings' cosines from orthogonal");
    v("simplicity", simplicity, "factor of the mean length of the embeddings");
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("gate_diversity", *this); }
};

}  // namespace moe
