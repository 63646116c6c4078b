#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// As many experts of each group (MoGE, Pangu Pro MoE; Tang et al. 2025).
struct GroupedTopKRouter {
  int64_t groups = 0;
  bool renormalise = false;
  double scale = 1;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("groups", groups,
      "split the experts into this many groups of neighbours (one a device), of which each gives "
      "top_k / groups; 0: the greatest common divisor of num_experts and top_k");
    v("renormalise", renormalise, "divide the chosen probabilities by their sum");
    v("scale", scale, "the weights are multiplied by this");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("grouped_topk", *this); }
};

}  // namespace moe
