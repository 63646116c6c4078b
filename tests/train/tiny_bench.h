#pragma once
// Single training steps of a tiny run, for tests that look between them.

#include <memory>
#include <vector>

#include <moe/train/optimizer.h>
#include <moe/train/optimizers/adamw.h>
#include <moe/train/step.h>

#include "tests/train/tiny_run.h"

namespace moe::test {

/// A model of a tiny run with its data, made anew from the same seed each time.
struct Bench {
  explicit Bench(const train::RunOptions& options)
      : dataset(data::open_data(options.data, 1)),
        source(dataset->training(options.train.batch, 1)),
        model(models::make_model(options.model, 1, {}, at::kCPU,
                                 options.train.dtype == "float64" ? at::kDouble : at::kFloat)),
        objective(options.train.objective.make(
            objectives::ObjectiveShape{.model = model->traits(), .data = dataset->traits()})),
        parameters(parameters_of(*model)) {}

  data::Batch batch(int64_t step, int64_t micro = 0, int64_t accumulation = 1) const {
    return source->batch(step, micro, accumulation, {0, source->rows()});
  }

  train::StepResult run(const std::vector<data::Batch>& batches, int64_t step) {
    return train::forward_backward(
        {.model = *model, .objective = *objective, .layout = group, .seed = 1}, batches, step,
        parameters);
  }
  train::StepResult run(int64_t step, int64_t micro_batches) {
    std::vector<data::Batch> batches;
    for (int64_t m = 0; m < micro_batches; ++m) batches.push_back(batch(step, m, micro_batches));
    return run(batches, step);
  }

  std::shared_ptr<parallel::Communicator> group = parallel::local();
  std::shared_ptr<const data::Dataset> dataset;
  std::shared_ptr<const data::BatchSource> source;
  std::shared_ptr<models::Model> model;
  std::shared_ptr<const objectives::Objective> objective;
  Parameters parameters;
};

}  // namespace moe::test
