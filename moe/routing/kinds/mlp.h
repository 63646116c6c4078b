#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Softmax top-k of a two-layer network's logits.
struct MlpRouter {
  int64_t hidden = 0;
  double dropout = 0;
  bool renormalise = true;
  std::string softmax = "before";
  double scale = 1;
  std::string weight_on = "output";
  double temperature = 1;
  double temperature_end = 1;
  int64_t temperature_steps = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("hidden", hidden, "hidden units; 0: d_model");
    v("dropout", dropout, "share of the logits set to 0 in training, in [0, 1)");
    routing::softmax_fields(*this, v);
    routing::temperature_fields(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("mlp", *this); }
};

}  // namespace moe
