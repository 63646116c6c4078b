#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Softmax top-k: the K largest of p = softmax(l / temperature), or of p + selection bias.
struct TopKRouter {
  bool renormalise = true;
  double norm = 1;
  std::string softmax = "before";
  double scale = 1;
  std::string weight_on = "output";
  double temperature = 1;
  double temperature_end = 1;
  int64_t temperature_steps = 0;
  bool bias = false;
  int64_t groups = 1;
  int64_t kept_groups = 0;
  std::string group_score = "max";
  bool selection_bias = false;
  double bias_rate = 0;
  double epsilon = 0;
  double least_sum = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    routing::softmax_fields(*this, v);
    v("norm", norm,
      "renormalise divides by this p-norm of the chosen weights, (sum of w^p)^(1/p): 1 is their "
      "sum "
      "(DBRX's moe_normalize_expert_weights)");
    routing::temperature_fields(*this, v);
    routing::bias_field(*this, v);
    routing::group_fields(*this, v);
    routing::selection_bias_fields(*this, v);
    routing::sum_fields(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("topk", *this); }
};

}  // namespace moe
