#pragma once

#include <string>

#include <moe/experts/experts.h>

namespace moe {

/// Gated feed-forward with bounded gates (gpt-oss): with [g; u] = w_in x + b_in,
/// w_out (min(g, limit) sigmoid(alpha min(g, limit)) (clamp(u, -limit, limit) + 1)) + b_out.
struct ClampedExpert {
  int64_t d_ff = 0;
  bool bias = true;
  double alpha = 1.702;
  double limit = 7;
  double dropout = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("bias", bias, "add biases b_in and b_out");
    v("alpha", alpha, "steepness of the gate g sigmoid(alpha g)");
    v("limit", limit, "gates are at most this, the units beside them at most this in size");
    v("dropout", dropout, "share of hidden units dropped in training, in [0, 1)");
  }
  void validate(const std::string& place) const;
  operator ExpertSpec() const { return experts::expert_spec_of("clamped", *this); }
};

}  // namespace moe
