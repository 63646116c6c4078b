#pragma once

#include <string>

#include <moe/balance/scope.h>

namespace moe {

/// Smooth load (Shazeer et al. 2017): how unequal the chances to be chosen are, given noise.
struct LoadLoss {
  double coefficient = 0.01;
  std::string form = "shazeer";
  double noise_std = 0;
  std::string scope = "batch";

  template <class Visitor>
  void fields(Visitor& v) {
    v("form", form,
      "what an expert must beat to be chosen: the K-th largest noisy logit of the other experts "
      "(\"shazeer\"), or of all experts (\"vmoe\")");
    v("noise_std", noise_std,
      "standard deviation of the noise where the router reports none (without noise, in "
      "evaluation); 0: 1/E");
    balance::scope_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("load", *this); }
};

}  // namespace moe
