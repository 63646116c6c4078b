#pragma once

#include <string>

#include <moe/routing/router.h>

namespace moe {

/// Softmax top-k of logits of a normalised token, with a learned factor for each expert's weight
/// (Gemma 4).
struct ScaledTopKRouter {
  double norm_epsilon = 1e-6;

  template <class Visitor>
  void fields(Visitor& v) {
    v("norm_epsilon", norm_epsilon, "added to the token's mean square");
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("scaled_topk", *this); }
};

}  // namespace moe
