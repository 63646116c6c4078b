#pragma once
// A study of a few steps on generated text.

#include <fstream>

#include <corpora/corpora.h>
#include <moe/models/architectures/decoder.h>
#include <moe/study/plan.h>

#include "tests/support/temporary_folder.h"

namespace moe::test {

/// A domain of a few tens of kilobytes in `folder`, and a decoder of one narrow layer.
inline train::RunOptions small_base(const Path& folder, int64_t steps = 6) {
  const corpora::Options synth{.seed = 3, .bytes_per_domain = 30000, .validation_share = 0.2};
  data::DomainOptions domain;
  domain.name = "english";
  domain.train = (folder / "train.txt").string();
  domain.valid = (folder / "valid.txt").string();
  std::ofstream(domain.train) << corpora::make_domain("english", corpora::Split::kTrain, synth);
  std::ofstream(domain.valid) << corpora::make_domain("english", corpora::Split::kValidation,
                                                      synth);
  auto run = study::small_run({domain});
  models::DecoderOptions model;
  read_fields(model, run.model.options, "model");
  model.d_model = 16;
  model.context_length = 16;
  model.uniform.layers = 1;
  model.uniform.heads = 2;
  model.uniform.moe.num_experts = 4;
  model.uniform.moe.expert.d_ff = 16;
  run.model = model;
  run.data.sequence = 16;
  run.train.batch = 4;
  run.train.steps = steps;
  run.train.eval_every = 2;
  run.train.eval_batches = 2;
  run.train.schedule.warmup = 1;
  return run;
}

inline study::StudyOptions small_study(const Path& folder, const std::string& name,
                                       const std::vector<std::string>& kinds, int64_t seeds = 2,
                                       int64_t steps = 6) {
  return {.name = name, .seeds = seeds, .kinds = kinds, .base = small_base(folder, steps)};
}

}  // namespace moe::test
