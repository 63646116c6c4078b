#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Expert choice (Zhou et al. 2022): each expert takes its best tokens.
struct ExpertChoiceRouter {
  double capacity_factor = 0;
  std::string group = "sequence";
  std::string rounding = "ceil";
  bool allow_future = false;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("capacity_factor", capacity_factor,
      "mean number of experts per token: C = capacity_factor * S / E; 0: top_k");
    v("group", group,
      "experts choose among the tokens of a \"sequence\" or of the whole \"batch\" of a call");
    v("rounding", rounding, "of C: \"ceil\", \"floor\" or \"nearest\"");
    v("allow_future", allow_future,
      "serve causal models, although a token's experts then depend on later tokens");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("expert_choice", *this); }
};

}  // namespace moe
