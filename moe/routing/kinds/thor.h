#pragma once

#include <string>

#include <moe/routing/router.h>

namespace moe {

/// THOR (Zuo et al. 2021): experts drawn at random, no parameters.
struct ThorRouter {
  std::string training = "layer";
  std::string evaluation = "token";

  template <class Visitor>
  void fields(Visitor& v) {
    v("training", training,
      "experts are drawn for the whole \"layer\" at each forward pass (THOR), or for each "
      "\"token\"");
    v("evaluation", evaluation,
      "the same, or \"mean\": every expert works with the same weight (THOR's ensemble)");
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("thor", *this); }
};

}  // namespace moe
