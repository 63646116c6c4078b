#pragma once

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Switch (Fedus et al. 2021): the best expert, weighted by its probability. For top_k = 1.
struct SwitchRouter {
  double jitter = 0;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("jitter", jitter,
      "in training, multiply the router's input by U[1 - jitter, 1 + jitter] (Switch: 0.01)");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("switch", *this); }
};

}  // namespace moe
