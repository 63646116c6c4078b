#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// GShard (Lepikhin et al. 2020): the two best, of which the second may be left out.
struct GShardRouter {
  std::string second = "random";
  std::string second_eval = "same";
  double threshold = 0.2;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("second", second,
      "who keeps the second expert: \"all\", \"none\", those whose second weight g2 is above the "
      "\"threshold\", or each with probability min(1, g2 / threshold), drawn at \"random\"");
    v("second_eval", second_eval,
      "the same in evaluation, which draws nothing: \"all\", \"none\", \"threshold\", or \"same\": "
      "as `second`, where random becomes all");
    v("threshold", threshold, "of second = threshold and random, in (0, 1]");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("gshard", *this); }
};

}  // namespace moe
