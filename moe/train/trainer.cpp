#include <cmath>

#include <ATen/Parallel.h>

#include <moe/base/log.h>
#include <moe/checkpoint/steps.h>
#include <moe/config/toml.h>
#include <moe/models/load.h>
#include <moe/models/tensors.h>
#include <moe/train/revive.h>
#include <moe/train/schedule.h>
#include <moe/train/trainer.h>

namespace moe::train {

namespace {

std::shared_ptr<models::LanguageModel> make_fitting_model(const RunOptions& options,
                                                          const data::Corpus& corpus) {
  auto model = models::make_model(
      write_fields(options.model),
      {.group = parallel::local(), .seed = static_cast<uint64_t>(options.train.seed)});
  const auto& m = model->options();
  check<ConfigError>(corpus.tokenizer()->vocabulary() <= m.vocabulary, "config",
                     "expected model.vocabulary of at least ", corpus.tokenizer()->vocabulary(),
                     " for the tokenizer '", corpus.tokenizer()->name(), "', got ", m.vocabulary,
                     ". Raise it.");
  check<ConfigError>(corpus.sequence() <= m.context_length, "config",
                     "expected data.sequence of at most model.context_length=", m.context_length,
                     ", got ", corpus.sequence(), ". Lower the one or raise the other.");
  if (options.train.dtype == "float64") model->to(at::kDouble);
  return model;
}

at::ScalarType compute_type(const TrainOptions& options) {
  return options.dtype == "bfloat16" ? at::kBFloat16 : at::ScalarType::Undefined;
}

}  // namespace

Trainer::Trainer(const RunOptions& options, const Path& folder)
    : options_(options),
      folder_(folder),
      config_toml_(config::write_toml(resolved(options))),
      corpus_(std::make_shared<data::Corpus>(options.data)),
      loader_(corpus_,
              {.batch = options.train.batch, .seed = static_cast<uint64_t>(options.train.seed)}),
      model_(make_fitting_model(options, *corpus_)),
      optimizer_(models::named_parameters(*model_), options.train.optimizer),
      monitor_(options.train.monitor) {
  if (options.train.threads > 0) at::set_num_threads(static_cast<int>(options.train.threads));
}

void Trainer::restore(const Path& checkpoint) {
  record_ = load_checkpoint(checkpoint, *model_, optimizer_, *group_);
  monitor_.restore(record_.unused_steps);
  saved_step_ = record_.step;
  restored_ = true;
}

std::vector<data::Batch> Trainer::batches() const {
  std::vector<data::Batch> out;
  const int64_t accumulation = options_.train.accumulation;
  for (int64_t micro = 0; micro < accumulation; ++micro)
    out.push_back(loader_.batch(record_.step + record_.data_shift, micro, accumulation));
  return out;
}

void Trainer::handle_bad_step(const StepResult& result) {
  const auto& o = options_.train;
  ++record_.bad_steps;
  const std::string found = concat("loss ", result.loss, " and gradient norm ",
                                   result.gradient_norm, " in step ", record_.step + 1);
  check(o.on_nan != "stop" && record_.bad_steps <= o.max_bad_steps, "train",
        "expected finite numbers, found ", found, " (", record_.bad_steps,
        " such steps in a row). Lower the learning rate, or set train.optimizer.clip.");
  const auto newest = o.on_nan == "rollback"
                          ? checkpoint::latest_checkpoint(folder_ / "checkpoints")
                          : std::nullopt;
  if (!newest) {
    log::warn(concat(found, ": the step is skipped."));
    ++record_.step;
    return;
  }
  // The same batches would end the same way: go on behind them.
  const int64_t shift = record_.data_shift + record_.step + 1, bad_steps = record_.bad_steps,
                tokens = record_.tokens;
  restore(*newest);
  record_.data_shift = shift - record_.step;
  record_.bad_steps = bad_steps;
  record_.tokens = tokens;
  log::warn(concat(found, ": back to step ", record_.step, ", and on with other batches."));
}

void Trainer::step(Progress& progress, MetricsLog& metrics) {
  const auto& o = options_.train;
  const StepInputs inputs{*model_, *group_, static_cast<uint64_t>(o.seed), compute_type(o)};
  const StepResult result =
      forward_backward(inputs, batches(), record_.step, optimizer_.parameters());
  if (!result.finite) {
    optimizer_.zero_gradients();
    handle_bad_step(result);
    return;
  }
  const double lr = o.optimizer.lr * learning_rate_share(o.schedule, record_.step, o.steps);
  clip_gradients(optimizer_.parameters(), result.gradient_norm, o.optimizer.clip);
  optimizer_.step(lr, record_.step);
  optimizer_.zero_gradients();

  std::vector<StepStatistics> statistics;
  for (const auto& layer : result.layers)
    statistics.push_back({layer.load_E.to(at::kLong), record_.step});
  model_->end_step(statistics);
  record_.bad_steps = 0;
  ++record_.step;
  record_.tokens += loader_.tokens() * o.accumulation;
  for (const auto& dead : monitor_.observe(result.layers, record_.step))
    if (o.monitor.revive) revive(dead, optimizer_, static_cast<uint64_t>(o.seed), record_.step);
  progress.step(record_.step, result);
  if (record_.step % o.log_every == 0 || record_.step == o.steps)
    metrics.step(record_.step, record_.tokens, result, lr, progress.tokens_per_second());
}

bool Trainer::evaluate_now(Progress& progress, MetricsLog& metrics) {
  const EvalResult result = evaluate(*model_, *corpus_, options_.train.batch,
                                     options_.train.eval_batches, compute_type(options_.train));
  if (result.domains.empty()) return false;
  record_.last_loss = result.loss;
  record_.last_evaluation = record_.step;
  const bool best = record_.best_step < 0 || result.loss < record_.best_loss;
  if (best) {
    record_.best_loss = result.loss;
    record_.best_step = record_.step;
    record_.evaluations_since_best = 0;
  } else {
    ++record_.evaluations_since_best;
  }
  metrics.evaluation(record_.step, result, record_.seconds);
  progress.evaluation(record_.step, result.loss, best);
  return best;
}

void Trainer::save() {
  if (saved_step_ == record_.step) return;
  record_.unused_steps = monitor_.state();
  const Path checkpoints = folder_ / "checkpoints";
  make_folders(real_files(), checkpoints);
  save_checkpoint(checkpoints / checkpoint::step_folder(static_cast<uint64_t>(record_.step)),
                  config_toml_, *model_, optimizer_, record_, *group_);
  saved_step_ = record_.step;
  std::set<std::string> protect;
  if (options_.train.keep_best && record_.best_step >= 0)
    protect.insert(checkpoint::step_folder(static_cast<uint64_t>(record_.best_step)));
  checkpoint::prune(checkpoints, static_cast<size_t>(options_.train.keep), protect);
}

RunSummary Trainer::train(const RunControls& controls) {
  const auto& o = options_.train;
  make_folders(real_files(), folder_);
  write_file_atomically(real_files(), folder_ / "config.toml",
                        [&](OutputFile& out) { out.write(bytes_of(config_toml_)); });
  MetricsLog metrics(folder_ / "metrics.jsonl", restored_ ? record_.step : -1);
  const int64_t last = controls.max_steps >= 0 ? std::min(controls.max_steps, o.steps) : o.steps;
  Progress progress(controls.label, record_.step, last, loader_.tokens() * o.accumulation);
  const double seconds_before = record_.seconds;
  const auto every = [&](int64_t period) { return period > 0 && record_.step % period == 0; };

  RunSummary summary;
  while (record_.step < last) {
    step(progress, metrics);
    summary.stopped_by = controls.stop();
    record_.seconds = seconds_before + progress.seconds();
    const bool best =
        every(o.eval_every) && summary.stopped_by == 0 && evaluate_now(progress, metrics);
    record_.seconds = seconds_before + progress.seconds();
    summary.early_stopped = o.early_stop > 0 && record_.evaluations_since_best >= o.early_stop;
    if (summary.early_stopped)
      log::info(
          concat(controls.label, " stops: no better loss in ", o.early_stop, " evaluations."));
    if (summary.stopped_by != 0 || summary.early_stopped) break;
    // The last checkpoint waits for the last evaluation, which belongs to its record.
    if (record_.step < last && (every(o.checkpoint_every) || (best && o.keep_best))) save();
  }
  const bool stopped = summary.stopped_by != 0 || summary.early_stopped;
  if (record_.step >= o.steps && !stopped && record_.last_evaluation != record_.step)
    evaluate_now(progress, metrics);
  record_.seconds = seconds_before + progress.seconds();
  save();
  progress.finish();
  summary.record = record_;
  summary.final_loss = record_.last_loss;
  return summary;
}

}  // namespace moe::train
