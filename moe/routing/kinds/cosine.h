#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Softmax top-k of cosines with expert embeddings (Chi et al. 2022).
struct CosineRouter {
  int64_t projection = 0;
  double temperature = 0.5;
  bool renormalise = true;
  std::string softmax = "before";
  double scale = 1;
  std::string weight_on = "output";

  template <class Visitor>
  void fields(Visitor& v) {
    v("projection", projection,
      "width in which tokens and experts are compared; 0: half the number of experts, at least 8");
    v("temperature", temperature,
      "where the learned temperature starts, in [0.01, 100], which it never leaves");
    routing::softmax_fields(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("cosine", *this); }
};

}  // namespace moe
