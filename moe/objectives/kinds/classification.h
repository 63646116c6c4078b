#pragma once

#include <moe/objectives/objective.h>

namespace moe {

/// Cross entropy of the class of each row of the model's output. Evaluations report the accuracy
/// beside the loss.
struct Classification {
  double label_smoothing = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("label_smoothing", label_smoothing,
      "share of each target that is spread over all classes, in training");
  }
  void validate(const std::string& place) const;
  operator objectives::ObjectiveSpec() const {
    return spec_of<objectives::ObjectiveSpec>("classification", *this);
  }
};

}  // namespace moe
