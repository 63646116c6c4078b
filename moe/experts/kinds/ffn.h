#pragma once

#include <string>

#include <moe/experts/experts.h>
#include <moe/experts/feed_forward_options.h>

namespace moe {

/// Two-layer feed-forward.
struct FfnExpert {
  int64_t d_ff = 0;
  std::string activation = "gelu";
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
  operator ExpertSpec() const { return experts::expert_spec_of("ffn", *this); }
};

}  // namespace moe
