#pragma once

#include <string>

#include <moe/routing/router.h>

namespace moe {

/// Top-any gating (DynMoE, Guo et al. 2024): every expert whose score passes its learned threshold;
/// experts come and go by how they are used.
struct DynMoERouter {
  double temperature = 1;
  std::string at_least_one = "always";
  int64_t start_experts = 0;
  int64_t update_every = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("temperature", temperature, "cosines and thresholds are divided by this");
    v("at_least_one", at_least_one,
      "a token that passes no threshold goes to its best expert \"always\", or in \"evaluation\" "
      "alone (the paper's code)");
    v("start_experts", start_experts,
      "how many of the num_experts take part from the start, the first ones; 0: all");
    v("update_every", update_every,
      "steps after which experts that got no token leave, and one comes in if tokens passed no "
      "threshold; 0: never");
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("dynmoe", *this); }
};

}  // namespace moe
