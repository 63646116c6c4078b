#pragma once

#include <string>
#include <vector>

#include <moe/experts/experts.h>
#include <moe/experts/feed_forward_options.h>

namespace moe {

/// Feed-forward experts, gated or not, of different widths in one layer.
struct MixedWidthsExpert {
  int64_t d_ff = 0;
  bool gated = true;
  std::vector<int64_t> widths = {};
  int64_t steps = 4;
  double spread = 0.5;
  std::string activation = "silu";
  bool bias = false;
  double dropout = 0;
  bool recompute = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("gated", gated, "of the form of `gated`; false: of `ffn`");
    v("widths", widths,
      "hidden units of each expert, or of equal shares of the experts that follow one another; "
      "empty: `steps` widths that rise evenly from (1 - spread) d_ff to (1 + spread) d_ff");
    v("steps", steps, "different widths where `widths` is empty");
    v("spread", spread, "how far they go from d_ff, which is their mean, in [0, 1)");
    experts::feed_forward_fields(*this, v);
  }
  void validate(const std::string& place) const;
  operator ExpertSpec() const { return experts::expert_spec_of("mixed_widths", *this); }
};

}  // namespace moe
