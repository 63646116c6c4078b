#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Sigmoid scores with a selection bias that balances without a loss (DeepSeek-V3).
struct SigmoidRouter {
  bool renormalise = true;
  double scale = 1;
  double bias_rate = 0.001;
  bool bias = false;
  std::string weight_on = "output";
  int64_t groups = 1;
  int64_t kept_groups = 0;
  std::string group_score = "best_two";
  bool selection_bias = true;
  double epsilon = 1e-20;
  double least_sum = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("renormalise", renormalise, "divide the chosen scores by their sum + epsilon");
    v("scale", scale, "the weights are multiplied by this (DeepSeek-V3: 2.5)");
    routing::selection_bias_fields(*this, v);
    routing::bias_field(*this, v);
    v("weight_on", weight_on,
      "the weight multiplies the expert's \"output\" or its \"input\" (Llama 4)");
    routing::group_fields(*this, v);
    routing::sum_fields(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("sigmoid", *this); }
};

}  // namespace moe
