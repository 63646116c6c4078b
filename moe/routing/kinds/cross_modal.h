#pragma once

#include <string>
#include <vector>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Softmax top-k by one router that every modality reaches through a projection of its own, and
/// with experts of its own where that is said.
struct CrossModalRouter {
  int64_t modalities = 1;
  int64_t projection = 0;
  std::vector<std::string> allowed = {};
  int64_t unlabelled = 0;
  bool renormalise = true;
  std::string softmax = "before";
  double scale = 1;
  std::string weight_on = "output";

  template <class Visitor>
  void fields(Visitor& v) {
    v("modalities", modalities,
      "modalities, at least as many as the data has domains; a token's modality is its domain");
    v("projection", projection, "width that every modality is projected to; 0: d_model");
    v("allowed", allowed,
      "experts that each modality may choose, by number and range (\"0-3,6\"); \"\": all; no entry "
      "at all: every modality all");
    v("unlabelled", unlabelled,
      "the modality of a token whose domain nobody names; -1: such a token is refused");
    routing::softmax_fields(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("cross_modal", *this); }
};

}  // namespace moe
