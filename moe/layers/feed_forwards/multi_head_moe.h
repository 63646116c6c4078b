#pragma once

#include <moe/layers/moe_options.h>

namespace moe {

/// Multi-head MoE (Wu et al. 2024): every token becomes `heads` sub-tokens, each of which is routed
/// by itself through experts of that width.
struct MultiHeadMoE {
  int64_t heads = 2;
  bool bias = true;
  layers::MoELayerOptions moe = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("heads", heads, "sub-tokens of a token, of width d_model / heads");
    v("bias", bias, "biases on the two matrices around the experts");
    v("moe", moe,
      "the mixture that sub-tokens go through; its d_model is that of a sub-token and its "
      "expert.d_ff, when 0, four times that");
  }
  void validate(const std::string& place) const;
  /// Fills in the defaults of the mixture.
  void resolve() { moe.resolve(); }

  operator layers::FeedForwardSpec() const {
    return spec_of<layers::FeedForwardSpec>("multi_head_moe", *this);
  }
};

}  // namespace moe
