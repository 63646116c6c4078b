#pragma once

#include <moe/objectives/objective.h>

namespace moe {

/// Hidden tokens, given all others (masked language modelling, Devlin et al. 2018): a share of the
/// tokens is drawn anew each step and predicted by a model that sees both sides of them. What it
/// reads in their place is the id behind the data's, another token at random, or the token itself.
struct MaskedToken {
  double share = 0.15;
  double hidden = 0.8;
  double random = 0.1;
  double label_smoothing = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("share", share, "share of the tokens that are predicted");
    v("hidden", hidden,
      "share of those that the model reads as the id model.vocabulary - 1, which no text may have");
    v("random", random, "share of those that it reads as a random id; the rest it reads as it is");
    v("label_smoothing", label_smoothing,
      "in training, share of the target's probability spread over all ids");
  }
  void validate(const std::string& place) const;

  operator objectives::ObjectiveSpec() const {
    return spec_of<objectives::ObjectiveSpec>("masked_token", *this);
  }
};

}  // namespace moe
