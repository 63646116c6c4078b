#pragma once

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// V-MoE (Riquelme et al. 2021): noise of a fixed size in training, raw probabilities.
struct VMoERouter {
  double noise = 1;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("noise", noise, "s: in training the logits get noise of standard deviation s / E");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("vmoe", *this); }
};

}  // namespace moe
