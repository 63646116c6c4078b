// T rows, M rows of a chunk, D width.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <moe/layers/chunked_divergence.h>
#include <moe/objectives/cross_entropy.h>

namespace moe::objectives {

namespace {

layers::Head head_of(models::Model& model, at::ScalarType compute) {
  return {[&model, compute](const Tensor& hidden_MD) { return model.head(hidden_MD, compute); },
          model.traits().outputs};
}

}  // namespace

int64_t CrossEntropyObjective::targets(const data::Batch& batch) const {
  return batch.targets.ne(data::kIgnoredTarget).sum().item<int64_t>();
}

ObjectiveResult CrossEntropyObjective::forward(models::Model& model,
                                               const models::ModelOutput& output,
                                               const data::Batch& batch,
                                               at::ScalarType compute) const {
  const layers::Head head = head_of(model, compute);
  // Smoothing is a way to train: what is reported of held-out data is the plain loss.
  const bool training = at::GradMode::is_enabled();
  const auto found = layers::cross_entropy(head, output.hidden_TD, batch.targets,
                                           {.ignored = data::kIgnoredTarget,
                                            .label_smoothing = training ? label_smoothing_ : 0,
                                            .count_correct = count_correct_});
  return {found.sum, at::tensor({found.sum.item<double>(), static_cast<double>(found.targets),
                                 static_cast<double>(found.correct)},
                                at::kDouble)};
}

Tensor CrossEntropyObjective::divergence(models::Model& model, const models::ModelOutput& first,
                                         const models::ModelOutput& second,
                                         const data::Batch& batch, at::ScalarType compute) const {
  return layers::symmetric_divergence(head_of(model, compute), first.hidden_TD, second.hidden_TD,
                                      batch.targets, {.ignored = data::kIgnoredTarget});
}

void check_label_smoothing(double value, const std::string& place) {
  check<ConfigError>(value >= 0 && value < 1, "config", "expected '", place,
                     ".label_smoothing' in [0, 1), got ", value, ". Correct it.");
}

}  // namespace moe::objectives
