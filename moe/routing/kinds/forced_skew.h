#pragma once

#include <moe/routing/router.h>

namespace moe {

/// For tests and benchmarks: experts drawn from a Zipf distribution.
struct ForcedSkewRouter {
  double exponent = 1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("exponent", exponent,
      "expert e is drawn with probability proportional to (e + 1)^-exponent; 0: uniform");
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("forced_skew", *this); }
};

}  // namespace moe
