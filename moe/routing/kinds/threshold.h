#pragma once

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Every expert that is likely enough.
struct ThresholdRouter {
  double threshold = 0;
  int64_t max_experts = 0;
  bool renormalise = false;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("threshold", threshold,
      "a token chooses the experts whose probability is above this, and its best one always; 0: 1 "
      "/ num_experts, more than by chance");
    v("max_experts", max_experts, "experts of a token at most; 0: no limit");
    v("renormalise", renormalise,
      "divide the chosen probabilities by their sum, which says nothing where one is chosen");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("threshold", *this); }
};

}  // namespace moe
