#pragma once

#include <string>

#include <moe/experts/experts.h>
#include <moe/experts/feed_forward_options.h>

namespace moe {

/// One frozen feed-forward for all experts, and a low-rank adapter of each.
struct LoraExpert {
  int64_t d_ff = 0;
  bool gated = true;
  int64_t rank = 8;
  double alpha = 16;
  std::string activation = "silu";
  bool bias = false;
  double dropout = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("gated", gated, "the base is of the form of `gated`; false: of `ffn`");
    v("rank", rank, "columns of the thin matrices of an adapter, r");
    v("alpha", alpha, "what adapters add is multiplied by alpha / rank");
    v("activation", activation, "relu, relu_squared, gelu (exact), gelu_tanh or silu");
    v("bias", bias, "the base has biases, and each expert its own beside them");
    v("dropout", dropout, "share of hidden units dropped in training, in [0, 1)");
  }
  void validate(const std::string& place) const;
  operator ExpertSpec() const { return experts::expert_spec_of("lora", *this); }
};

}  // namespace moe
