#pragma once

#include <string>

#include <moe/experts/experts.h>
#include <moe/experts/feed_forward_options.h>

namespace moe {

/// Gated feed-forward (Shazeer 2020): SwiGLU, with another activation GEGLU or ReGLU.
struct GatedExpert {
  int64_t d_ff = 0;
  std::string activation = "silu";
  bool bias = false;
  double dropout = 0;
  bool recompute = false;

  template <class Visitor>
  void fields(Visitor& v) {
    experts::feed_forward_fields(*this, v);
  }
  void validate(const std::string& place) const {
    experts::FeedForwardOptions::of(*this).validate(place);
  }
  operator ExpertSpec() const { return experts::expert_spec_of("gated", *this); }
};

}  // namespace moe
