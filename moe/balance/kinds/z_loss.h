#pragma once

#include <string>

#include <moe/balance/term.h>

namespace moe {

/// Keeps the router's logits small (ST-MoE).
struct ZLoss {
  double coefficient = 0.01;
  std::string form = "logsumexp";

  template <class Visitor>
  void fields(Visitor& v) {
    v("form", form,
      "\"logsumexp\": (ln sum_e exp l_te)^2 (ST-MoE); \"plain\": sum_e l_te^2; a mean over tokens");
  }
  void validate(const std::string& place) const;
  operator BalanceSpec() const { return balance::balance_spec_of("z_loss", *this); }
};

}  // namespace moe
