// M sums.
#include <cmath>

#include <moe/objectives/cross_entropy.h>
#include <moe/objectives/kinds/next_token.h>

namespace moe {

void NextToken::validate(const std::string& place) const {
  objectives::check_label_smoothing(label_smoothing, place);
}

namespace objectives {

namespace {

class NextTokenObjective final : public CrossEntropyObjective {
 public:
  NextTokenObjective(const ObjectiveShape& shape, const NextToken& options)
      : CrossEntropyObjective(options.label_smoothing, /*count_correct=*/false) {
    check<ConfigError>(shape.data.vocabulary > 0 && shape.model.vocabulary > 0, "config",
                       "expected text and a model of text for objective = \"next_token\", got ",
                       shape.data.vocabulary > 0 ? "another model" : "other data",
                       ". Set model.architecture and the format of data.domains to match it.");
    check<ConfigError>(shape.model.outputs >= shape.data.vocabulary, "config",
                       "expected a model that predicts ", shape.data.vocabulary, " tokens, got ",
                       shape.model.outputs, " outputs. Raise model.vocabulary.");
  }

  std::vector<Metric> metrics(const Tensor& sums_M) const override {
    auto out = Objective::metrics(sums_M);
    out.emplace_back("perplexity", std::exp(out.front().second));
    return out;
  }
};

}  // namespace

MOE_KIND(objectives, next_token, NextTokenObjective, NextToken)

}  // namespace objectives

}  // namespace moe
