#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Softmax top-k whose logits go on from those of the layer before (MoE++).
struct GatingResidualRouter {
  bool renormalise = false;
  std::string softmax = "before";
  double scale = 1;
  std::string weight_on = "output";
  bool bias = false;
  bool detach = false;

  template <class Visitor>
  void fields(Visitor& v) {
    routing::softmax_fields(*this, v);
    routing::bias_field(*this, v);
    v("detach", detach,
      "no gradient reaches the layer before through its logits; needed where activations are "
      "computed again (train.recompute)");
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("gating_residual", *this); }
};

}  // namespace moe
