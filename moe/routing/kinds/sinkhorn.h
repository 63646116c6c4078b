#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Sinkhorn routing (S-BASE, Clark et al. 2022; Megatron-LM): in training the best K of a transport
/// plan that loads experts evenly.
struct SinkhornRouter {
  std::string group = "sequence";
  int64_t iterations = 20;
  double tolerance = 1e-3;
  std::string weight = "auto";
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("group", group,
      "whose plan is even: that of the tokens of each \"sequence\", or of all of a \"batch\" over "
      "the "
      "ranks");
    v("iterations", iterations, "of the scaling of rows and columns, at most");
    v("tolerance", tolerance,
      "it ends where no logarithm of a column's factor changes by more than this");
    v("weight", weight,
      "\"softmax\" over all logits, \"sigmoid\" of the logit, or \"auto\": sigmoid for top_k = 1, "
      "else softmax (Megatron-LM)");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("sinkhorn", *this); }
};

}  // namespace moe
