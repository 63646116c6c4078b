#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// ReLU routing (ReMoE, Wang et al. 2024): as many experts as have a positive logit.
struct ReluRouter {
  double scale = 1;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("scale", scale, "the weights are multiplied by this");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("relu", *this); }
};

}  // namespace moe
