#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>
#include <ATen/ops/full.h>

#include <moe/base/log.h>
#include <moe/checkpoint/steps.h>
#include <moe/generation/generate.h>
#include <moe/models/companions.h>
#include <moe/models/take_weights.h>
#include <moe/parameters/materialise.h>
#include <moe/routing/router.h>
#include <moe/train/clip.h>
#include <moe/train/fit.h>
#include <moe/train/group_names.h>
#include <moe/train/groups.h>
#include <moe/train/placement.h>
#include <moe/train/revive.h>
#include <moe/train/schedule.h>
#include <moe/train/sources.h>
#include <moe/train/trainer.h>

namespace moe::train {

namespace {

const PeriodicWarnings::Kind kSkipped = {"steps skipped, whose loss or gradient was not finite",
                                         ""};
const PeriodicWarnings::Kind kRolledBack = {"rollbacks, as loss or gradient was not finite", ""};
const PeriodicWarnings::Kind kRevived = {"restarts of experts that got no tokens", ""};
const PeriodicWarnings::Kind kNotRevived = {"experts without tokens that could not be restarted",
                                            ""};

at::ScalarType compute_type(const TrainOptions& options) {
  return options.dtype == "bfloat16" ? at::kBFloat16 : at::ScalarType::Undefined;
}

at::ScalarType parameter_type(const TrainOptions& options) {
  return options.dtype == "float64" ? at::kDouble : at::kFloat;
}

uint64_t seed_of(const TrainOptions& options) {
  return static_cast<uint64_t>(options.seed);
}

}  // namespace

Trainer::Trainer(const RunOptions& options, const Path& folder, const RunControls& controls,
                 const data::SourceRecords& sources, const std::optional<Path>& from)
    : options_(options),
      folder_(folder),
      controls_(controls),
      layout_(parallel::Layout::of(controls.group, options.parallel)),
      warnings_(options.train.monitor.every, /*speaks=*/leads()),
      monitor_(options.train.monitor, &warnings_) {
  const auto& o = options.train;
  if (o.threads > 0) at::set_num_threads(static_cast<int>(o.threads));
  auto data = options.data;
  if (from) data.tokenizer = tokenizer_for(options, *from);
  if (data.tokenizer != options.data.tokenizer)
    info(concat("no file at data.tokenizer = '", options.data.tokenizer,
                "' any more: reading with ", data.tokenizer));
  dataset_ = data::open_data(data, at::get_num_threads());
  source_ = dataset_->training(o.batch, seed_of(o));
  evaluation_ = dataset_->evaluation(o.batch, o.eval_batches);
  texts_ = checkpoint_texts(options, *dataset_, sources, from);
  auto placement = read_run_placement(options.parallel.placement, options.model, layout_);
  layout_.placements = placement.layers;
  model_ = models::make_model(options.model, {.layout = layout_});
  exchange_.emplace(*model_, o.dtype == "bfloat16" ? compute_type(o) : parameter_type(o),
                    layout_.exchange.format, std::move(placement.predicted));
  const auto traits = model_->traits();
  check_reads(traits, *dataset_, o.init);
  objective_ =
      o.objective.make(objectives::ObjectiveShape{.model = traits, .data = dataset_->traits()});
  check_compares(o, *objective_);
  start_model(/*anew=*/!from);
  const auto parameters = parameters_of(*model_), tensors = tensors_of(*model_);
  OptimizerOptions optimizer = o.optimizer;
  optimizer.groups =
      in_our_names(optimizer.groups, tensors, options.model, models::family_in(texts_));
  const int64_t trained = freeze(tensors, optimizer.groups, *layout_.world);
  frozen_ = FrozenState(tensors, optimizer.groups);
  int64_t all = 0;
  for (const auto& parameter : parameters) all += parameter.tensor.numel();
  if (trained < all)
    info(concat("training ", trained, " of ", all, " parameters; the others are frozen."));
  for (const auto& why : untrained_routers(*model_)) warn(why);
  optimizer_ = make_optimizer(parameters, optimizer,
                              {.layout = layout_, .shared_out = options.parallel.shard_optimizer});
  if (options.parallel.overlap_gradients)
    gradients_ = std::make_unique<parallel::GradientSums>(optimizer_->parameters(), layout_);
  if (optimizer_->needs_tokens()) expert_tokens_.emplace(optimizer_->parameters(), *model_);
  if (!from && o.schedule.warmup >= std::min(o.steps, schedule_steps(o)))
    warn(concat("train.schedule.warmup = ", o.schedule.warmup, " takes all ",
                std::min(o.steps, schedule_steps(o)),
                " steps: the learning rate never gets to train.optimizer.lr = ", o.optimizer.lr,
                ". Lower it, or train longer."));
  if (leads()) controls.ready();
}

void Trainer::start_model(bool anew) {
  const auto& o = options_.train;
  const auto type = parameter_type(o);
  if (anew && !o.init.empty()) {
    models::take_weights(*model_, o.init, type, layout_);
    if (!controls_.device.is_cpu()) model_->to(controls_.device);
    info(concat("starting from the weights of ", o.init));
    return;
  }
  materialise(*model_, controls_.device, type);
  if (anew) model_->draw(seed_of(o));
}

void Trainer::info(std::string_view text) const {
  if (leads()) log::info(text);
}

void Trainer::warn(std::string_view text) const {
  if (leads()) log::warn(text);
}

int64_t Trainer::largest(int64_t number) const {
  Tensor value = at::full({}, number, at::TensorOptions(at::kLong).device(controls_.device));
  layout_.world->all_reduce(value, parallel::Reduce::kMax);
  return value.item<int64_t>();
}

void Trainer::restore(const Path& checkpoint) {
  record_ = load_checkpoint(checkpoint, *model_, *optimizer_, layout_);
  monitor_.restore(record_.unused_steps);
  saved_step_ = record_.step;
  restored_ = true;
}

std::vector<data::Batch> Trainer::batches() const {
  std::vector<data::Batch> out;
  const int64_t accumulation = options_.train.accumulation;
  const auto rows = data::rank_rows(source_->rows(), layout_.world->rank(), layout_.world->size());
  for (int64_t micro = 0; micro < accumulation; ++micro)
    out.push_back(source_->batch(record_.step + record_.data_shift, micro, accumulation, rows));
  return out;
}

void Trainer::handle_bad_step(const StepResult& result) {
  const auto& o = options_.train;
  ++record_.bad_steps;
  record_.bad_until = std::max(record_.bad_until, record_.step + 1);
  // A NaN has a sign, which says nothing; norms have none.
  const int64_t step = record_.step + 1;
  const std::string found = concat("loss ", result.loss, " and gradient norm ",
                                   std::abs(result.gradient_norm), " in step ", step);
  if (o.on_nan == "stop" || record_.bad_steps >= o.max_bad_steps) {
    warnings_.finish();
    const char* go_on = o.on_nan == "stop" ? ", or resume with train.on_nan = \"skip\"."
                                           : ", or resume with a larger train.max_bad_steps.";
    fail("train", "expected finite numbers, found ", found, " (", record_.bad_steps,
         " such steps in a row). Start anew with a lower train.optimizer.lr or "
         "train.optimizer.clip",
         newest_checkpoint(folder_, *layout_.world) ? go_on : ".");
  }
  // Only to where an uninterrupted run would have one.
  const auto target = o.on_nan == "rollback"
                          ? newest_checkpoint(folder_, *layout_.world, o.checkpoint_every)
                          : std::nullopt;
  if (!target) {
    count_event(kSkipped, [&] { return "the last with " + found; });
    ++record_.step;
    return;
  }
  // The same batches would end the same way: go on behind them.
  const RunRecord failed = record_;
  restore(*target);
  // What lies behind is of a run that is no more.
  if (leads())
    checkpoint::remove_behind(folder_ / kCheckpointsFolder, static_cast<uint64_t>(record_.step));
  record_.data_shift = failed.data_shift + failed.step + 1 - record_.step;
  record_.bad_steps = failed.bad_steps;
  record_.bad_until = failed.bad_until;
  record_.tokens = failed.tokens;
  saved_step_ = -1;  // so that a run that ends here does not fail in the same way again
  if (metrics_) metrics_->keep_up_to(record_.step, record_.last_evaluation);
  count_event(kRolledBack, [&] {
    return concat("the last with ", found, ", to step ", record_.step,
                  ", and on with other batches");
  });
}

std::vector<DeadExpert> Trainer::revived_of(const std::vector<DeadExpert>& dead) {
  std::vector<DeadExpert> out;
  if (!options_.train.monitor.revive) return out;
  for (const auto& expert : dead) {
    bool started = false;
    const auto& layer = *model_->blocks().at(static_cast<size_t>(expert.layer));
    const std::string done = revive(expert, layer, *optimizer_, layout_, seed_of(options_.train),
                                    record_.step, &started);
    count_event(started ? kRevived : kNotRevived, [&] {  // `done` ends with a point
      return concat("the last in step ", record_.step, ": ", done.substr(0, done.size() - 1));
    });
    if (started) out.push_back(expert);
  }
  return out;
}

void Trainer::step(bool last) {
  const auto& o = options_.train;
  const StepInputs inputs{.model = *model_,
                          .objective = *objective_,
                          .layout = layout_,
                          .seed = seed_of(o),
                          .compute = compute_type(o),
                          .recompute = models::parse_recompute(o.recompute, "train.recompute"),
                          .frozen = &frozen_,
                          .count_tokens = expert_tokens_.has_value(),
                          .consistency = o.consistency.coefficient,
                          .gradients = gradients_.get()};
  // Routers, terms and modules of users move their state themselves.
  const auto frozen_state = frozen_.copies();
  const StepResult result =
      forward_backward(inputs, batches(), record_.step, optimizer_->parameters());
  if (!result.finite) {
    optimizer_->zero_gradients();
    frozen_.put_back(frozen_state);
    handle_bad_step(result);
    return;
  }
  const double lr = learning_rate(o, record_.step);
  optimizer_->step(
      lr, record_.step,
      expert_tokens_ ? expert_tokens_->by_parameter(result.expert_tokens) : ExpertTokens(),
      clip_factor(result.gradient_norm, o.optimizer.clip));
  optimizer_->zero_gradients();

  std::vector<StepStatistics> statistics;
  for (const auto& layer : result.layers)
    statistics.push_back({.counts_E = layer.load_E.to(at::kLong),
                          .step = record_.step,
                          .tokens = static_cast<int64_t>(layer.tokens),
                          .task_loss = result.task_loss,
                          .record_R = layer.record_R});
  model_->end_step(statistics);
  clear_started(*model_, *optimizer_);
  frozen_.put_back(frozen_state);
  ++record_.step;
  // Bad steps count until the step that failed has passed.
  if (record_.step > record_.bad_until) record_.bad_steps = 0;
  record_.tokens += source_->tokens() * o.accumulation;
  exchange_->add(record_.step, result.layers);
  const auto revived = revived_of(monitor_.observe(result.layers, record_.step));
  progress_->step(record_.step, result);
  if (record_.step % o.log_every == 0 || last || !revived.empty()) log_step(result, lr, revived);
}

void Trainer::log_step(const StepResult& result, double lr,
                       const std::vector<DeadExpert>& revived) {
  if (metrics_)
    metrics_->step({.step = record_.step,
                    .tokens = record_.tokens,
                    .lr = lr,
                    .tokens_per_second = progress_->tokens_per_second(),
                    .seconds = seconds_before_ + progress_->seconds(),
                    .result = result,
                    .news = monitor_.news(revived)});
}

bool Trainer::evaluate_once() {
  if (record_.last_evaluation == record_.step || evaluation_.empty()) return false;
  const auto result = objectives::evaluate(*model_, *objective_, evaluation_,
                                           compute_type(options_.train), *layout_.world);
  record_.last_loss = result.loss();
  record_.last_evaluation = record_.step;
  saved_step_ = -1;  // what a checkpoint of this step says of evaluations is out of date
  const bool known = !std::isnan(result.loss());
  const bool best = known && (record_.best_step < 0 || result.loss() < record_.best_loss);
  if (best) {
    record_.best_loss = result.loss();
    record_.best_step = record_.step;
    record_.evaluations_since_best = 0;
  } else {
    ++record_.evaluations_since_best;
  }
  if (metrics_)
    metrics_->evaluation({.step = record_.step, .seconds = record_.seconds, .result = result});
  if (known) log_sample();
  progress_->evaluation(record_.step, result.metrics, best);
  return best;
}

void Trainer::log_sample() {
  const auto& o = options_.train.tensorboard;
  models::LoadedModel writer;
  writer.model = model_;
  writer.tokenizer = dataset_->tokenizer();
  if (!o.enabled || o.sample_tokens == 0 || !writer.tokenizer || !model_->traits().causal) return;
  try {
    // Every rank writes, since experts are everywhere, and the same text.
    const auto written = generation::generate(
        writer, o.sample_prompt,
        {.max_tokens = o.sample_tokens, .temperature = 0.8, .seed = options_.train.seed});
    if (metrics_) metrics_->text(record_.step, "sample", o.sample_prompt + written.text);
  } catch (const Error& error) {
    // A prompt too long, or capacity over groups that generation does not fill: no reason to stop,
    // and the same each time.
    if (!wrote_no_sample_) warn(concat("no sample for TensorBoard: ", error.what()));
    wrote_no_sample_ = true;
  }
}

void Trainer::save() {
  if (saved_step_ == record_.step) return;
  record_.unused_steps = monitor_.state();
  const Path checkpoints = folder_ / kCheckpointsFolder;
  if (leads()) make_folders(real_files(), checkpoints);
  save_checkpoint(checkpoints / checkpoint::step_folder(static_cast<uint64_t>(record_.step)),
                  texts_, *model_, *optimizer_, record_, layout_);
  saved_step_ = record_.step;
  if (!leads()) return;
  std::set<std::string> protect;
  if (options_.train.keep_best && record_.best_step >= 0)
    protect.insert(checkpoint::step_folder(static_cast<uint64_t>(record_.best_step)));
  // Where a rollback goes, however many a stop or a better loss has written since.
  if (const int64_t every = options_.train.checkpoint_every; every > 0)
    protect.insert(checkpoint::step_folder(static_cast<uint64_t>(record_.step / every * every)));
  checkpoint::prune(checkpoints, static_cast<size_t>(options_.train.keep), protect);
}

void Trainer::save_if_due(bool best, int64_t last) {
  const auto& o = options_.train;
  const bool scheduled =
      o.checkpoint_every > 0 && record_.step > 0 && record_.step % o.checkpoint_every == 0;
  // The last checkpoint is written after the last evaluation, whose result it records.
  if (record_.step < last && (scheduled || (best && o.keep_best))) save();
}

void Trainer::open_logs() {
  const auto& o = options_.train;
  const int64_t last = controls_.max_steps >= 0 ? std::min(controls_.max_steps, o.steps) : o.steps;
  progress_.emplace(ProgressScale{.label = controls_.label,
                                  .first_step = record_.step,
                                  .steps = last,
                                  .tokens_per_step = source_->tokens() * o.accumulation,
                                  .unit = dataset_->unit(),
                                  .silent = !leads()});
  if (!leads()) return;
  make_folders(real_files(), folder_);
  write_file_atomically(real_files(), folder_ / kConfigFile,
                        [&](OutputFile& out) { out.write(bytes_of(texts_.at(kConfigFile))); });
  metrics_.emplace(folder_ / "metrics.jsonl",
                   o.tensorboard.enabled ? folder_ / "tensorboard" : Path());
  metrics_->keep_up_to(restored_ ? record_.step : -1, record_.last_evaluation);
  metrics_->text(record_.step, "config", texts_.at(kConfigFile));
}

RunSummary Trainer::train() {
  const auto& o = options_.train;
  open_logs();
  const int64_t last = controls_.max_steps >= 0 ? std::min(controls_.max_steps, o.steps) : o.steps;
  seconds_before_ = record_.seconds;
  exchange_->begin(record_.step);
  const auto every = [&](int64_t period) { return period > 0 && record_.step % period == 0; };
  const auto evaluate_if_due = [&] {
    return every(o.eval_every) && record_.step > 0 && evaluate_once();
  };

  RunSummary summary;
  // A stopped run may have skipped its last evaluation.
  save_if_due(evaluate_if_due(), last);
  while (summary.stopped_by == 0 && record_.step < last) {
    summary.early_stopped = o.early_stop > 0 && record_.evaluations_since_best >= o.early_stop;
    if (summary.early_stopped) break;
    step(record_.step + 1 == last);
    warnings_.end_step(record_.step);
    summary.stopped_by = static_cast<int>(largest(controls_.stop()));
    record_.seconds = seconds_before_ + progress_->seconds();
    if (summary.stopped_by != 0) break;
    save_if_due(evaluate_if_due(), last);
    progress_->skip_time();
  }
  if (summary.early_stopped)
    info(concat(controls_.label, " stops: no better loss in ", o.early_stop, " evaluations."));
  if (record_.step >= o.steps && summary.stopped_by == 0) evaluate_once();
  record_.seconds = seconds_before_ + progress_->seconds();
  save();
  progress_->finish();
  warnings_.finish();
  summary.record = record_;
  summary.final_loss = record_.last_loss;
  if (metrics_) summary.metrics = metrics_->summary();
  summary.exchange = exchange_->summary();
  if (leads()) write_exchange(folder_, summary.exchange);
  return summary;
}

}  // namespace moe::train
