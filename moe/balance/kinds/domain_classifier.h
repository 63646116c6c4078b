#pragma once

#include <moe/balance/term.h>

namespace moe {

/// Teaches a router's classifier of domains the domains that the data names.
struct DomainClassifierLoss {
  double coefficient = 0.01;

  template <class Visitor>
  void fields(Visitor&) {}
  operator BalanceSpec() const { return balance::balance_spec_of("domain_classifier", *this); }
};

}  // namespace moe
