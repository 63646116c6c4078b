#pragma once

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// As many experts as it takes for their probabilities to exceed p (Huang et al. 2024).
struct TopPRouter {
  double p = 0.4;
  int64_t max_experts = 0;
  bool renormalise = false;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("p", p, "a token chooses its best experts until the sum of their probabilities exceeds this");
    v("max_experts", max_experts, "experts of a token at most; 0: no limit");
    v("renormalise", renormalise,
      "divide the chosen probabilities by their sum, which says nothing where one is chosen");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("top_p", *this); }
};

}  // namespace moe
