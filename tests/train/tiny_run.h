#pragma once
// A run of a few small steps on generated text, for tests of the trainer.

#include <fstream>
#include <map>
#include <string>

#include <corpora/corpora.h>
#include <moe/checkpoint/manifest.h>
#include <moe/checkpoint/steps.h>
#include <moe/models/architectures/decoder.h>
#include <moe/train/run.h>

#include "tests/support/temporary_folder.h"

namespace moe::test {

/// The decoder of `run`, as `change` leaves it.
template <class Change>
void change_model(train::RunOptions& run, const Change& change) {
  models::DecoderOptions model;
  read_fields(model, run.model.options, "model");
  change(model);
  run.model = model;
}

/// Two domains of a few tens of kilobytes in `folder`, and a run over them with every kind of state
/// a checkpoint holds.
inline train::RunOptions tiny_run(const Path& folder, const std::string& dtype = "float32") {
  const corpora::Options synth{.seed = 3, .bytes_per_domain = 60000, .validation_share = 0.1};
  train::RunOptions run;
  for (const char* name : {"english", "arithmetic"}) {
    const Path train = folder / (std::string(name) + ".train"),
               valid = folder / (std::string(name) + ".valid");
    std::ofstream(train) << corpora::make_domain(name, corpora::Split::kTrain, synth);
    std::ofstream(valid) << corpora::make_domain(name, corpora::Split::kValidation, synth);
    data::DomainOptions domain;
    domain.name = name;
    domain.train = train.string();
    domain.valid = valid.string();
    run.data.domains.push_back(domain);
  }
  run.data.sequence = 16;
  models::DecoderOptions model;
  model.context_length = 16;
  model.d_model = 16;
  model.uniform.layers = 2;
  model.uniform.heads = 2;
  model.uniform.dropout = 0.1;
  model.uniform.moe.num_experts = 4;
  model.uniform.moe.expert.d_ff = 16;
  model.uniform.moe.router.kind = "sigmoid";
  run.model = model;
  run.train.steps = 12;
  run.train.batch = 4;
  run.train.accumulation = 2;
  run.train.dtype = dtype;
  run.train.log_every = 1;
  run.train.eval_every = 5;
  run.train.eval_batches = 2;
  run.train.checkpoint_every = 4;
  run.train.schedule.warmup = 3;
  return run;
}

/// Every tensor file of the newest checkpoint, as bytes.
inline std::map<std::string, std::string> tensor_files(const Path& run) {
  const Path folder = *checkpoint::latest_checkpoint(run / "checkpoints");
  std::map<std::string, std::string> out;
  for (const auto& [name, file] : checkpoint::verify_manifest(folder).files)
    if (name.ends_with(".safetensors"))
      out[name] = read_file(real_files(), folder / name, 1u << 30);
  return out;
}

/// Makes of `run` one of 32 experts that nothing balances, so that some get no tokens for
/// `unused_steps` of its `steps` steps.
inline void let_experts_idle(train::RunOptions& run, int64_t steps, int64_t unused_steps) {
  change_model(run, [](auto& model) {
    model.uniform.moe.num_experts = 32;
    model.uniform.moe.router.kind = "topk";
    model.uniform.moe.balance = {};
  });
  run.train.steps = steps;
  run.train.accumulation = 1;
  run.train.eval_every = 0;
  run.train.optimizer.lr = 0.05;
  run.train.monitor.unused_steps = unused_steps;
}

}  // namespace moe::test
