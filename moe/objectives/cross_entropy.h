#pragma once
// T rows.

#include <moe/layers/chunked_loss.h>
#include <moe/objectives/objective.h>

namespace moe::objectives {

/// What next_token and classification share: cross entropy of the model's head against int64
/// targets, in chunks. Sums: loss, targets, rows whose largest logit is the target's (0 where they
/// are not counted).
class CrossEntropyObjective : public Objective {
 public:
  int64_t targets(const data::Batch& batch) const override;
  ObjectiveResult forward(models::Model& model, const models::ModelOutput& output,
                          const data::Batch& batch, at::ScalarType compute) const override;
  bool has_distribution() const override { return true; }
  Tensor divergence(models::Model& model, const models::ModelOutput& first,
                    const models::ModelOutput& second, const data::Batch& batch,
                    at::ScalarType compute) const override;

 protected:
  CrossEntropyObjective(double label_smoothing, bool count_correct)
      : label_smoothing_(label_smoothing), count_correct_(count_correct) {}

 private:
  double label_smoothing_;
  bool count_correct_;
};

/// Throws ConfigError naming `place`.label_smoothing unless `value` is in [0, 1).
void check_label_smoothing(double value, const std::string& place);

}  // namespace moe::objectives
