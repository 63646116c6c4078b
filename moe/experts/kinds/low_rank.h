#pragma once

#include <string>

#include <moe/experts/experts.h>
#include <moe/experts/feed_forward_options.h>

namespace moe {

/// Feed-forward experts, gated or not, whose matrices are products of two thin ones.
struct LowRankExpert {
  int64_t d_ff = 0;
  bool gated = true;
  int64_t rank = 0;
  bool factor_out = true;
  std::string activation = "silu";
  bool bias = false;
  double dropout = 0;
  bool recompute = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("gated", gated, "of the form of `gated`; false: of `ffn`");
    v("rank", rank, "columns of the thin matrices, r; 0: a quarter of d_ff");
    v("factor_out", factor_out, "w_out is a product of thin matrices too");
    experts::feed_forward_fields(*this, v);
  }
  void validate(const std::string& place) const;
  operator ExpertSpec() const { return experts::expert_spec_of("low_rank", *this); }
};

}  // namespace moe
