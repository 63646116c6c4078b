#pragma once

#include <string>

#include <moe/routing/router.h>

namespace moe {

/// Noisy top-k (Shazeer et al. 2017): logits with learned noise in training.
struct NoisyTopKRouter {
  std::string softmax = "after";
  std::string noise_std = "softplus";
  double noise_epsilon = 0.01;

  template <class Visitor>
  void fields(Visitor& v) {
    v("softmax", softmax,
      "\"after\" the selection, over the K kept (Shazeer), or \"before\" it, over all experts: the "
      "weights then sum to less than 1");
    v("noise_std", noise_std,
      "standard deviation of the noise: \"softplus\" of x W_noise, plus noise_epsilon (Shazeer), "
      "or \"sqrt_softplus\", its square root, nothing added");
    v("noise_epsilon", noise_epsilon, "least standard deviation of noise_std = softplus");
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("noisy_topk", *this); }
};

}  // namespace moe
