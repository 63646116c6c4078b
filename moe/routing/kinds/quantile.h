#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Quantile balancing (Su 2026; Megatron-LM, Kimi K3): a selection bias taken from the quantiles of
/// the scores that make loads even.
struct QuantileRouter {
  std::string score = "sigmoid";
  std::string choose = "top_k";
  double decay = 0;
  bool renormalise = true;
  double scale = 1;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("score", score, "\"sigmoid\" or \"softmax\" of the logits");
    v("choose", choose,
      "the \"top_k\" of score + bias, or \"any\" expert where that is above 0, which is top_k of "
      "them "
      "on average");
    v("decay", decay,
      "weight of the past when the selection bias moves after a step, in [0, 1); 0: it jumps to "
      "the "
      "quantile");
    v("renormalise", renormalise, "divide the chosen scores by their sum");
    v("scale", scale, "the weights are multiplied by this");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("quantile", *this); }
};

}  // namespace moe
