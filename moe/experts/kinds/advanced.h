#pragma once

#include <string>

#include <moe/experts/experts.h>
#include <moe/experts/feed_forward_options.h>

namespace moe {

/// Feed-forward with LayerNorm and dropout, which is on; 0 switches it off.
struct AdvancedExpert {
  int64_t d_ff = 0;
  std::string activation = "gelu";
  bool bias = true;
  double dropout = 0.1;
  bool recompute = false;
  double norm_epsilon = 1e-5;

  template <class Visitor>
  void fields(Visitor& v) {
    experts::feed_forward_fields(*this, v);
    v("norm_epsilon", norm_epsilon, "added to the variance of the hidden units");
  }
  void validate(const std::string& place) const {
    experts::FeedForwardOptions::of(*this).validate(place);
    check<ConfigError>(norm_epsilon > 0, "config", "expected '",
                       detail::dotted(place, "norm_epsilon"), "' above 0, got ", norm_epsilon,
                       ". Raise it.");
  }
  operator ExpertSpec() const { return experts::expert_spec_of("advanced", *this); }
};

}  // namespace moe
