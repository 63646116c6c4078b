#pragma once

#include <moe/routing/router.h>

namespace moe {

/// For benchmarks: tokens dealt round robin, at the cost of a learned router.
struct ForcedBalanceRouter {
  template <class Visitor>
  void fields(Visitor&) {}
  operator RouterSpec() const { return spec_of<RouterSpec>("forced_balance", *this); }
};

}  // namespace moe
