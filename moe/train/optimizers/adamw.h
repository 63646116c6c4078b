#pragma once

#include <moe/train/options.h>

namespace moe {

/// AdamW (Loshchilov and Hutter 2019) for every parameter:
///
///   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g²,  p -= lr (m̂ / (sqrt(v̂) + eps) + decay p)
struct AdamW {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;

  template <class Visitor>
  void fields(Visitor& v) {
    v("beta1", beta1, "decay of the first moment");
    v("beta2", beta2, "decay of the second moment");
    v("epsilon", epsilon, "added to the root of the second moment");
  }
  void validate(const std::string& place) const;
  operator train::OptimizerSpec() const { return spec_of<train::OptimizerSpec>("adamw", *this); }
};

}  // namespace moe
