#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Experts drawn from the softmax in training, and learned by REINFORCE on the task loss.
struct PolicyGradientRouter {
  double coefficient = 0.01;
  double decay = 0.9;
  std::string weight = "probability";
  double temperature = 1;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("coefficient", coefficient, "factor of the REINFORCE term in the loss; 0: it is left out");
    v("decay", decay,
      "weight of the past in the baseline, a moving average of the task loss, in [0, 1)");
    v("weight", weight,
      "a chosen expert weighs its \"probability\", through which the task loss trains the router "
      "too, or all weigh \"equal\"");
    v("temperature", temperature, "logits are divided by this before they become chances");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("policy_gradient", *this); }
};

}  // namespace moe
