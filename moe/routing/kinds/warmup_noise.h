#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Softmax top-k with noise on the logits in the first steps of training.
struct WarmupNoiseRouter {
  double noise = 1;
  int64_t noise_steps = 1000;
  std::string decay = "constant";
  bool renormalise = true;
  std::string softmax = "before";
  double scale = 1;
  std::string weight_on = "output";
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("noise", noise, "standard deviation of the noise on the logits at step 0");
    v("noise_steps", noise_steps, "training steps with noise; none is drawn from this step on");
    v("decay", decay,
      "over these steps the standard deviation is \"constant\", or falls to 0 along a line: "
      "\"linear\"");
    routing::softmax_fields(*this, v);
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("warmup_noise", *this); }
};

}  // namespace moe
