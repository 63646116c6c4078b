#pragma once

#include <moe/objectives/objective.h>

namespace moe {

/// Error of numbers: targets (N,) or (N, outputs), of any type, against the head's outputs. The
/// loss is a mean over all numbers. Evaluations report mean squared and mean absolute error, and
/// the share of the targets' variance that is explained (r2).
struct Regression {
  std::string error = "squared";
  double huber_delta = 1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("error", error, "squared, absolute, or huber (squared up to huber_delta, linear beyond)");
    v("huber_delta", huber_delta, "where the Huber loss becomes linear");
  }
  void validate(const std::string& place) const;
  operator objectives::ObjectiveSpec() const {
    return spec_of<objectives::ObjectiveSpec>("regression", *this);
  }
};

}  // namespace moe
