// M sums.
#include <moe/objectives/cross_entropy.h>
#include <moe/objectives/kinds/classification.h>

namespace moe {

void Classification::validate(const std::string& place) const {
  objectives::check_label_smoothing(label_smoothing, place);
}

namespace objectives {

namespace {

class ClassificationObjective final : public CrossEntropyObjective {
 public:
  ClassificationObjective(const ObjectiveShape& shape, const Classification& options)
      : CrossEntropyObjective(options.label_smoothing, /*count_correct=*/true) {
    check<ConfigError>(shape.data.classes > 0, "config",
                       "expected data with classes for objective = \"classification\", got none. "
                       "Set train.objective to what the data ask.");
    check<ConfigError>(shape.model.outputs == shape.data.classes, "config",
                       "expected a model with an output for each of ", shape.data.classes,
                       " classes, got ", shape.model.outputs, " outputs. Set model.classes.");
  }

  std::vector<Metric> metrics(const Tensor& sums_M) const override {
    auto out = Objective::metrics(sums_M);
    out.emplace_back("accuracy", (sums_M[2] / sums_M[1]).item<double>());
    return out;
  }
};

}  // namespace

MOE_KIND(objectives, classification, ClassificationObjective, Classification)

}  // namespace objectives

}  // namespace moe
