#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// BASE layers (Lewis et al. 2021): the best even assignment of tokens to experts in training.
struct BaseRouter {
  std::string group = "sequence";
  double epsilon = 0.02;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("group", group,
      "what is shared out evenly in training: the tokens of each \"sequence\", or all of a "
      "\"batch\" "
      "over the ranks (the paper's)");
    v("epsilon", epsilon,
      "the assignment's mean score is this near to the best one's, as a share of the typical "
      "distance "
      "between a token's best score and its mean");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("base", *this); }
};

}  // namespace moe
