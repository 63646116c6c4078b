#pragma once

#include <string>

#include <moe/routing/router.h>

namespace moe {

/// SparseMixer's rule as Phi-3.5-MoE uses it, trained by SparseMixer-v2 (Liu et al. 2023, 2024).
/// For top_k of 1 or 2.
struct SparsemixerRouter {
  double jitter = 0.01;
  std::string estimator = "heun";

  template <class Visitor>
  void fields(Visitor& v) {
    v("jitter", jitter,
      "logits further than 2 jitter below the best, relative to the larger of the two sizes, take "
      "no part in its softmax");
    v("estimator", estimator,
      "in training draw experts and estimate the gradient by \"heun\"'s third-order method "
      "(SparseMixer-v2), or \"none\": the rule of evaluation and its derivative");
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("sparsemixer", *this); }
};

}  // namespace moe
