#include <ctime>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <moe/analyze/run_log.h>
#include <moe/base/memory.h>
#include <moe/config/toml.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/save.h>
#include <moe/parameters/list.h>
#include <moe/study/task.h>

namespace moe::study {

namespace {

constexpr const char* kRunFolder = "run";
constexpr const char* kStartFolder = "start";

/// Processor time of this process so far, over all its threads.
double cpu_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void write_text(const Path& path, const std::string& text) {
  write_file_atomically(real_files(), path, [&](OutputFile& file) { file.write(bytes_of(text)); });
}

/// Lets the router of every MoE layer favour its first experts. Throws where one has no bias.
void skew_routers(models::Model& model, const Task& task) {
  const at::NoGradGuard no_grad;
  int64_t layers = 0;
  for (const auto& block : model.blocks()) {
    auto* layer = dynamic_cast<layers::MoELayerImpl*>(&block->feed_forward());
    if (!layer) continue;
    Tensor bias_E;
    for (const auto& parameter : parameters_of(layer->router()))
      if (parameter.info.role == Role::kBias && parameter.info.per_expert)
        bias_E = parameter.tensor;
    check<ConfigError>(bias_E.defined(), "study",
                       "expected routers with a bias to start skewed with, got '",
                       layer->options().router.kind, "' without. Set its bias = true.");
    bias_E.narrow(0, 0, task.favoured).add_(task.skew);
    ++layers;
  }
  check<ConfigError>(layers > 0, "study",
                     "expected MoE layers to start skewed, got none. Name another kind.");
}

/// The run of `task`; a skewed start is written to `folder` first.
train::RunOptions run_of(const Task& task, const Path& folder) {
  train::RunOptions run = task.run;
  run.train.seed = task.seed;
  if (task.skew == 0) return run;
  models::LoadedModel start;
  start.model = models::make_model(run.model, static_cast<uint64_t>(task.seed));
  skew_routers(*start.model, task);
  start.config = train::resolved(run);
  models::save_native(start, folder);
  run.train.init = folder.string();
  return run;
}

/// False when it was stopped.
bool train_task(const Task& task, const Path& folder, const std::function<int()>& stop,
                RunResult& result) {
  at::set_num_threads(static_cast<int>(std::max<int64_t>(task.run.train.threads, 1)));
  const auto run = run_of(task, folder / kStartFolder);
  memory_pool().release();
  const double before = cpu_seconds();
  train::RunControls controls;
  // Asked after every step: the times between are those of steps, some with an evaluation, which
  // the median leaves out.
  std::vector<double> step_seconds;
  double last = before;
  controls.stop = [&] {
    const double now = cpu_seconds();
    step_seconds.push_back(now - last);
    last = now;
    return stop();
  };
  controls.label = concat(task.variant, ", seed ", task.seed);
  const auto summary = train::Run(run, folder / kRunFolder).start(controls);
  if (summary.stopped_by != 0) return false;
  const double spent = cpu_seconds() - before;
  result = figures_of(analyze::read_run_log(folder / kRunFolder / "metrics.jsonl"));
  result.seconds = summary.record.seconds;
  result.cpu_seconds = spent;
  // One thread's own time says what a step costs whatever else the machine does.
  if (at::get_num_threads() == 1)
    result.tokens_per_second = static_cast<double>(result.tokens) /
                               static_cast<double>(result.steps) / median_of(step_seconds);
  result.peak_bytes = static_cast<int64_t>(memory_pool().use().most_in_use);
  return true;
}

}  // namespace

Table table_of(const Task& task) {
  Task copy = task;
  Table out = write_fields(copy);
  out.set("run", train::resolved(task.run));
  return out;
}

void write_task(const Task& task, const Path& folder) {
  make_folders(real_files(), folder);
  write_text(folder / kTaskFile, config::write_toml(table_of(task)));
}

Task read_task(const Path& folder) {
  Task out;
  read_fields(out, config::read_toml(folder / kTaskFile), "");
  return out;
}

bool execute(const Path& folder, const std::function<int()>& stop) {
  const Task task = read_task(folder);
  for (const char* left : {kRunFolder, kStartFolder, kResultFile})
    if (real_files().exists(folder / left)) remove_all(real_files(), folder / left);
  RunResult result;
  try {
    if (!train_task(task, folder, stop, result)) return false;
  } catch (const Error& error) {
    // What a kind cannot do is part of what a study finds; the program's own faults are not.
    result = {};
    result.failure = error.what();
  }
  result.variant = task.variant;
  result.seed = task.seed;
  // The figures and metrics.jsonl are what a study keeps of a model.
  for (const Path& left : {folder / kStartFolder, folder / kRunFolder / train::kCheckpointsFolder})
    if (real_files().exists(left)) remove_all(real_files(), left);
  write_text(folder / kResultFile, write_result(result));
  return true;
}

}  // namespace moe::study
