#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>

#include <moe/base/log.h>
#include <moe/checkpoint/steps.h>
#include <moe/config/toml.h>
#include <moe/experts/stacked.h>
#include <moe/generation/generate.h>
#include <moe/models/load.h>
#include <moe/models/tensors.h>
#include <moe/train/groups.h>
#include <moe/train/revive.h>
#include <moe/train/schedule.h>
#include <moe/train/trainer.h>

namespace moe::train {

namespace {

constexpr const char* kConfigFile = "config.toml";

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
  const auto& groups = options.train.optimizer.groups;
  const int64_t trained = freeze(models::named_parameters(*model), groups);
  if (std::any_of(groups.begin(), groups.end(), [](const auto& group) { return group.frozen; })) {
    int64_t all = 0;
    for (const auto& parameter : model->parameters()) all += parameter.numel();
    log::info(concat("training ", trained, " of ", all, " parameters; the others are frozen."));
  }
  return model;
}

CheckpointTexts checkpoint_texts(const RunOptions& options, const data::Corpus& corpus) {
  CheckpointTexts out = {{kConfigFile, config::write_toml(resolved(options))}};
  if (auto json = corpus.tokenizer()->tokenizer_json(); !json.empty())
    out.emplace(data::kTokenizerFile, std::move(json));
  return out;
}

/// A model goes on with the tokens it began with.
void check_same_tokenizer(const Path& checkpoint, const CheckpointTexts& texts,
                          const std::string& name) {
  const Path file = checkpoint / data::kTokenizerFile;
  const auto now = texts.find(data::kTokenizerFile);
  const std::string before =
      real_files().exists(file) ? read_file(real_files(), file, uint64_t{1} << 28) : "";
  check<ConfigError>(before == (now == texts.end() ? "" : now->second), "config",
                     "expected data.tokenizer to be the tokenizer of ", checkpoint.string(),
                     ", got '", name, "', which differs. Set data.tokenizer to ",
                     before.empty() ? "byte" : file.string(), '.');
}

at::ScalarType compute_type(const TrainOptions& options) {
  return options.dtype == "bfloat16" ? at::kBFloat16 : at::ScalarType::Undefined;
}

}  // namespace

Trainer::Trainer(const RunOptions& options, const Path& folder)
    : options_(options),
      folder_(folder),
      corpus_(std::make_shared<data::Corpus>(
          options.data, options.train.threads > 0 ? options.train.threads : at::get_num_threads())),
      texts_(checkpoint_texts(options, *corpus_)),
      loader_(corpus_,
              {.batch = options.train.batch, .seed = static_cast<uint64_t>(options.train.seed)}),
      model_(make_fitting_model(options, *corpus_)),
      optimizer_(models::named_parameters(*model_), options.train.optimizer,
                 experts::use_gradient_sinks(*model_)),
      monitor_(options.train.monitor) {
  if (options.train.threads > 0) at::set_num_threads(static_cast<int>(options.train.threads));
}

void Trainer::restore(const Path& checkpoint) {
  check_same_tokenizer(checkpoint, texts_, corpus_->tokenizer()->name());
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

void Trainer::handle_bad_step(const StepResult& result, MetricsLog& metrics) {
  const auto& o = options_.train;
  ++record_.bad_steps;
  record_.bad_until = std::max(record_.bad_until, record_.step + 1);
  // A NaN has a sign, which says nothing; norms have none.
  const std::string found = concat("loss ", result.loss, " and gradient norm ",
                                   std::abs(result.gradient_norm), " in step ", record_.step + 1);
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
  const RunRecord failed = record_;
  restore(*newest);
  record_.data_shift = failed.data_shift + failed.step + 1 - record_.step;
  record_.bad_steps = failed.bad_steps;
  record_.bad_until = failed.bad_until;
  record_.tokens = failed.tokens;
  metrics.keep_up_to(record_.step, record_.last_evaluation);
  log::warn(concat(found, ": back to step ", record_.step, ", and on with other batches."));
}

void Trainer::step(Progress& progress, MetricsLog& metrics, bool last) {
  const auto& o = options_.train;
  const StepInputs inputs{.model = *model_,
                          .group = *group_,
                          .seed = static_cast<uint64_t>(o.seed),
                          .compute = compute_type(o),
                          .recompute = models::parse_recompute(o.recompute, "train.recompute"),
                          .num_domains = static_cast<int64_t>(corpus_->domains().size()),
                          .sinks = optimizer_.sinks()};
  const StepResult result =
      forward_backward(inputs, batches(), record_.step, optimizer_.parameters());
  if (!result.finite) {
    optimizer_.zero_gradients();
    handle_bad_step(result, metrics);
    return;
  }
  const double lr = o.optimizer.lr * learning_rate_share(o.schedule, record_.step, o.steps);
  clip_gradients(optimizer_.parameters(), result.gradient_norm, o.optimizer.clip,
                 optimizer_.sinks());
  optimizer_.step(lr, record_.step);
  optimizer_.zero_gradients();

  std::vector<StepStatistics> statistics;
  for (const auto& layer : result.layers)
    statistics.push_back({layer.load_E.to(at::kLong), record_.step});
  model_->end_step(statistics);
  ++record_.step;
  // Steps that a rollback repeats prove nothing: the count ends behind the one that failed.
  if (record_.step > record_.bad_until) record_.bad_steps = 0;
  record_.tokens += loader_.tokens() * o.accumulation;
  for (const auto& dead : monitor_.observe(result.layers, record_.step))
    if (o.monitor.revive) revive(dead, optimizer_, static_cast<uint64_t>(o.seed), record_.step);
  progress.step(record_.step, result);
  if (record_.step % o.log_every == 0 || last)
    metrics.step(record_.step, record_.tokens, result, lr, progress.tokens_per_second(),
                 seconds_before_ + progress.seconds());
}

bool Trainer::evaluate_once(Progress& progress, MetricsLog& metrics) {
  if (record_.last_evaluation == record_.step) return false;
  const EvalResult result = evaluate(*model_, *corpus_, options_.train.batch,
                                     options_.train.eval_batches, compute_type(options_.train));
  if (result.domains.empty()) return false;
  record_.last_loss = result.loss;
  record_.last_evaluation = record_.step;
  saved_step_ = -1;  // what a checkpoint of this step says of evaluations is out of date
  const bool best =
      !std::isnan(result.loss) && (record_.best_step < 0 || result.loss < record_.best_loss);
  if (best) {
    record_.best_loss = result.loss;
    record_.best_step = record_.step;
    record_.evaluations_since_best = 0;
  } else {
    ++record_.evaluations_since_best;
  }
  metrics.evaluation(record_.step, result, record_.seconds);
  if (!std::isnan(result.loss)) log_sample(metrics);
  progress.evaluation(record_.step, result.loss, best);
  return best;
}

void Trainer::log_sample(MetricsLog& metrics) const {
  const auto& o = options_.train.tensorboard;
  if (!o.enabled || o.sample_tokens == 0 || !model_->options().causal) return;
  models::LoadedModel model;
  model.model = model_;
  model.tokenizer = corpus_->tokenizer();
  try {
    const auto written = generation::generate(
        model, o.sample_prompt,
        {.max_tokens = o.sample_tokens, .temperature = 0.8, .seed = options_.train.seed});
    metrics.text(record_.step, "sample", o.sample_prompt + written.text);
  } catch (const Error& error) {
    // A prompt too long, or capacity over groups that generation does not fill: no reason to stop.
    log::warn(concat("no sample for TensorBoard: ", error.what()));
  }
}

void Trainer::save() {
  if (saved_step_ == record_.step) return;
  record_.unused_steps = monitor_.state();
  const Path checkpoints = folder_ / "checkpoints";
  make_folders(real_files(), checkpoints);
  save_checkpoint(checkpoints / checkpoint::step_folder(static_cast<uint64_t>(record_.step)),
                  texts_, *model_, optimizer_, record_, *group_);
  saved_step_ = record_.step;
  std::set<std::string> protect;
  if (options_.train.keep_best && record_.best_step >= 0)
    protect.insert(checkpoint::step_folder(static_cast<uint64_t>(record_.best_step)));
  checkpoint::prune(checkpoints, static_cast<size_t>(options_.train.keep), protect);
}

RunSummary Trainer::train(const RunControls& controls) {
  const auto& o = options_.train;
  make_folders(real_files(), folder_);
  write_file_atomically(real_files(), folder_ / kConfigFile,
                        [&](OutputFile& out) { out.write(bytes_of(texts_.at(kConfigFile))); });
  MetricsLog metrics(folder_ / "metrics.jsonl",
                     o.tensorboard.enabled ? folder_ / "tensorboard" : Path());
  metrics.keep_up_to(restored_ ? record_.step : -1, record_.last_evaluation);
  metrics.text(record_.step, "config", texts_.at(kConfigFile));
  const int64_t last = controls.max_steps >= 0 ? std::min(controls.max_steps, o.steps) : o.steps;
  Progress progress(controls.label, record_.step, last, loader_.tokens() * o.accumulation);
  seconds_before_ = record_.seconds;
  const auto every = [&](int64_t period) { return period > 0 && record_.step % period == 0; };

  const auto evaluate_if_due = [&] {
    return every(o.eval_every) && record_.step > 0 && evaluate_once(progress, metrics);
  };

  RunSummary summary;
  evaluate_if_due();  // a run that was stopped may owe the evaluation of its last step
  while (summary.stopped_by == 0 && record_.step < last) {
    summary.early_stopped = o.early_stop > 0 && record_.evaluations_since_best >= o.early_stop;
    if (summary.early_stopped) break;
    step(progress, metrics, record_.step + 1 == last);
    summary.stopped_by = controls.stop();
    record_.seconds = seconds_before_ + progress.seconds();
    if (summary.stopped_by != 0) break;
    const bool best = evaluate_if_due();
    // The last checkpoint waits for the last evaluation, which belongs to its record.
    if (record_.step < last && (every(o.checkpoint_every) || (best && o.keep_best))) save();
    progress.skip_time();
  }
  if (summary.early_stopped)
    log::info(concat(controls.label, " stops: no better loss in ", o.early_stop, " evaluations."));
  if (record_.step >= o.steps && summary.stopped_by == 0) evaluate_once(progress, metrics);
  record_.seconds = seconds_before_ + progress.seconds();
  save();
  progress.finish();
  summary.record = record_;
  summary.final_loss = record_.last_loss;
  summary.metrics = metrics.summary();
  return summary;
}

}  // namespace moe::train
