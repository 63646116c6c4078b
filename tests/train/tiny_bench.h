#pragma once
// Single training steps of a tiny run, for tests that look between them.

#include <memory>
#include <vector>

#include <moe/models/load.h>
#include <moe/models/tensors.h>
#include <moe/train/step.h>

#include "tests/train/tiny_run.h"

namespace moe::test {

/// A model of a tiny run with its data, made anew from the same seed each time.
struct Bench {
  explicit Bench(const train::RunOptions& options)
      : corpus(std::make_shared<data::Corpus>(options.data)),
        loader(corpus, {.batch = options.train.batch, .seed = 1}),
        model(models::make_model(write_fields(options.model), {.seed = 1})) {
    if (options.train.dtype == "float64") model->to(at::kDouble);
    parameters = models::named_parameters(*model);
  }

  train::StepResult run(int64_t step, int64_t micro_batches) {
    std::vector<data::Batch> batches;
    for (int64_t m = 0; m < micro_batches; ++m)
      batches.push_back(loader.batch(step, m, micro_batches));
    return train::forward_backward({*model, *group, 1, at::ScalarType::Undefined}, batches, step,
                                   parameters);
  }

  std::shared_ptr<parallel::Communicator> group = parallel::local();
  std::shared_ptr<const data::Corpus> corpus;
  data::Loader loader;
  std::shared_ptr<models::LanguageModel> model;
  train::NamedTensors parameters;
};

}  // namespace moe::test
