#pragma once

#include <moe/objectives/objective.h>

namespace moe {

/// Cross entropy of the token that follows each token. Targets that are data::kIgnoredTarget count
/// nothing.
struct NextToken {
  double label_smoothing = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("label_smoothing", label_smoothing,
      "share of each target that is spread over the whole vocabulary, in training");
  }
  void validate(const std::string& place) const;
  operator objectives::ObjectiveSpec() const {
    return spec_of<objectives::ObjectiveSpec>("next_token", *this);
  }
};

}  // namespace moe
