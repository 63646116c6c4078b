#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <ATen/Parallel.h>

#include <moe/analyze/expert_tokens.h>
#include <moe/analyze/loss_difference.h>
#include <moe/base/date.h>
#include <moe/base/text.h>
#include <moe/checkpoint/manifest.h>
#include <moe/checkpoint/steps.h>
#include <moe/config/toml.h>
#include <moe/data/source_record.h>
#include <moe/models/load.h>
#include <report/gather.h>
#include <report/html.h>
#include <report/passages.h>

namespace moe::report {

namespace {

constexpr const char* kPlaceOfGather = "analyze/report";
constexpr int64_t kMostTokens = 65536, kFewestRows = 8, kRowsAtOnce = 16;
constexpr int64_t kMostPassages = 6, kTypicalTokens = 6;
constexpr uint64_t kLargestConfiguration = uint64_t{1} << 24;

/// The setting at "train.steps", or null.
const Value* setting(const Table& table, std::string_view path) {
  const Table* here = &table;
  for (;;) {
    const size_t dot = path.find('.');
    const Value* value = here->find(path.substr(0, dot));
    if (dot == std::string_view::npos || !value) return value;
    here = value->as<Table>();
    if (!here) return nullptr;
    path.remove_prefix(dot + 1);
  }
}

template <class T>
T setting_or(const Table& table, std::string_view path, T otherwise) {
  const Value* value = setting(table, path);
  const T* found = value ? value->as<T>() : nullptr;
  return found ? *found : otherwise;
}

/// What `part` throws becomes a note: a report says what it could not read instead of failing.
template <class Part>
void attempt(std::vector<std::string>& notes, const std::string& what, const Part& part) {
  try {
    part();
  } catch (const std::exception& error) {
    notes.push_back(what + ": " + error.what());
  }
}

void read_configuration(RunFacts& run) {
  const Table table = config::parse_toml(run.config, run.folder + "/config.toml");
  run.planned_steps = setting_or<int64_t>(table, "train.steps", 0);
  run.dtype = setting_or<std::string>(table, "train.dtype", "");
  run.seed = setting_or<int64_t>(table, "train.seed", 0);
  if (const Value* domains = setting(table, "data.domains"); domains && domains->as<Array>())
    for (const auto& domain : *domains->as<Array>())
      if (domain.as<Table>())
        run.domains.push_back(setting_or<std::string>(*domain.as<Table>(), "name", ""));
  const Value* section = table.find("model");
  check(section && section->as<Table>(), kPlaceOfGather, "expected a [model] section in ",
        run.folder, "/config.toml, found none. The run is damaged: use another.");
  models::ModelSpec spec;
  read_fields(spec, *section->as<Table>(), "model");
  run.model = models::make_model(spec);
  run.counts = models::count(*run.model);
}

/// What the record in the newest checkpoint says; the rest of the checkpoint is not looked at.
double recorded_seconds(const Path& run) {
  auto& files = real_files();
  const Path checkpoints = run / "checkpoints";
  std::optional<uint64_t> newest;
  if (files.exists(checkpoints))
    for (const auto& name : files.list(checkpoints))
      newest = std::max(newest, checkpoint::parse_step(name));
  if (!newest) return analyze::kNotLogged;
  const auto metadata =
      checkpoint::read_manifest(checkpoints / checkpoint::step_folder(*newest)).metadata;
  const auto found = metadata.find("seconds");
  return found == metadata.end() ? analyze::kNotLogged
                                 : std::strtod(found->second.c_str(), nullptr);
}

RunFacts facts_of(const Path& folder, std::vector<std::string>& notes) {
  auto& files = real_files();
  RunFacts run;
  run.folder = folder.string();
  check(files.exists(folder / "config.toml") || files.exists(folder / "metrics.jsonl"),
        kPlaceOfGather, "expected config.toml or metrics.jsonl of a run in ", folder.string(),
        ", found neither. Name the folder of a run.");
  attempt(notes, "The configuration", [&] {
    run.config = read_file(files, folder / "config.toml", kLargestConfiguration);
    read_configuration(run);
  });
  attempt(notes, "The course of the training", [&] {
    run.log = analyze::read_run_log(folder / "metrics.jsonl");
    if (run.log.skipped > 0)
      notes.push_back(concat("The course of the training: ", plural(run.log.skipped, "line"),
                             " of metrics.jsonl could not be read."));
  });
  attempt(notes, "The time the run took", [&] { run.recorded_seconds = recorded_seconds(folder); });
  return run;
}

/// How many rows of each domain the checkpoint reads.
int64_t rows_to_read(const GatherOptions& options, int64_t trained, const data::Corpus& corpus) {
  const int64_t S = corpus.sequence();
  const auto domains = std::max<int64_t>(1, static_cast<int64_t>(corpus.domains().size()));
  if (options.tokens >= 0) return std::max<int64_t>(1, options.tokens / S / domains);
  const int64_t rows = std::max(kFewestRows, trained * 3 / 100 / S / domains);
  return std::clamp<int64_t>(rows, 1, std::max<int64_t>(1, kMostTokens / S / domains));
}

std::vector<std::vector<TypicalToken>> typical_tokens(const analyze::LayerStatistics& layer,
                                                      const data::Tokenizer& tokenizer) {
  std::vector<std::vector<TypicalToken>> out;
  for (const auto& expert : analyze::tokens_of_experts(layer.counts_EV, kTypicalTokens)) {
    out.emplace_back();
    for (const auto& [token, pairs, share, lift] : expert.typical)
      out.back().push_back({data::token_text(tokenizer, token), share, lift});
  }
  return out;
}

RoutingStudy study_of(const Path& folder, const GatherOptions& options, int64_t trained) {
  models::LoadOptions load;
  load.verify = options.verify;
  const auto loaded = models::load(options.checkpoint.empty() ? folder : options.checkpoint, load);
  const auto read_by_run = models::data_options_of(loaded);
  data::warn_of_changed_sources(read_by_run, loaded.folder);
  const data::Corpus corpus(read_by_run, at::get_num_threads());
  const int64_t rows = rows_to_read(options, trained, corpus);
  analyze::RowOptions read;
  read.batch = std::min(rows, kRowsAtOnce);
  read.max_batches = (rows + read.batch - 1) / read.batch;

  RoutingStudy study;
  study.step = loaded.step;
  analyze::RoutingCounts counts;
  counts.domains = analyze::validated_domains(corpus);
  const auto domains = static_cast<int64_t>(counts.domains.size());
  analyze::StatisticsCollector statistics({.vocabulary = corpus.tokenizer()->vocabulary()});
  // With few domains there is room for several rows of each.
  const int64_t each = std::max<int64_t>(1, 4 / domains);
  int64_t last_domain = -1;
  analyze::route_rows(*loaded.model, corpus, read, [&](const analyze::RoutedRows& routed) {
    analyze::add_rows(counts, routed);
    statistics.add(routed);
    if (routed.domain == last_domain || routed.domain >= kMostPassages) return;
    last_domain = routed.domain;
    const auto& name = counts.domains[static_cast<size_t>(routed.domain)];
    const int64_t length = passage_length(routed, each * std::min(domains, kMostPassages));
    for (int64_t row = 0; row < std::min(each, routed.rows()); ++row)
      study.passages.push_back(passage_of(routed, row, *corpus.tokenizer(), name, length));
  });
  study.tokens = counts.tokens;
  study.specialisation = analyze::specialisation(
      counts, {}, {.permutations = options.permutations, .seed = options.seed});
  study.statistics = std::move(statistics).finish();
  for (const auto& layer : study.statistics.layers)
    study.typical_LE.push_back(typical_tokens(layer, *corpus.tokenizer()));
  return study;
}

Machine this_machine() {
  return {cpu_name(), at::get_num_threads(), MOE_VERSION, date_now()};
}

std::string name_of(const Path& folder) {
  const Path full = std::filesystem::absolute(folder).lexically_normal();
  return full.has_filename() ? full.filename().string() : full.parent_path().filename().string();
}

/// folder/seed-1, folder/seed-2, … as far as they go.
std::vector<Path> seed_folders(const Path& folder) {
  std::vector<Path> out;
  for (int64_t seed = 1; real_files().exists(folder / concat("seed-", seed) / "moe"); ++seed)
    out.push_back(folder / concat("seed-", seed));
  return out;
}

void add_seeds(ReportData& data, const std::vector<Path>& folders) {
  for (const auto& folder : folders)
    attempt(data.notes, name_of(folder), [&] {
      const auto evaluated = [&](const char* name) {
        RunFacts run;
        run.log = analyze::read_run_log(folder / name / "metrics.jsonl");
        check(run.best().has_value(), kPlaceOfGather, "expected evaluations in ",
              (folder / name).string(),
              ", found none. Train on until the first: the same command goes on.");
        return run;
      };
      const RunFacts moe = evaluated("moe"), dense = evaluated("dense");
      data.seeds.push_back(
          {name_of(folder), moe.best()->loss, dense.best()->loss,
           analyze::difference_at_equal_steps(moe.log.loss_points(), dense.log.loss_points())});
    });
}

}  // namespace

int64_t RunFacts::moe_layers() const {
  int64_t out = 0;
  if (model)
    for (const auto& block : model->blocks()) out += block->routes();
  for (const auto& step : log.steps) out = std::max(out, static_cast<int64_t>(step.layers.size()));
  return out;
}

std::optional<analyze::LossPoint> RunFacts::best() const {
  const auto points = log.loss_points();
  const auto found = std::ranges::min_element(points, {}, &analyze::LossPoint::loss);
  return found == points.end() ? std::nullopt : std::optional(*found);
}

std::string RunFacts::loss_unit() const {
  return !model || model->traits().vocabulary > 0 ? " nats a token" : "";
}

std::string RunFacts::unit() const {
  return model && model->traits().channels > 0 ? "images" : "tokens";
}

std::string RunFacts::best_metrics() const {
  const auto found = best();
  std::vector<std::string> out;
  for (const auto& evaluation : log.evaluations)
    if (found && evaluation.step == found->step)
      for (const auto& [name, value] : evaluation.metrics)
        out.push_back(concat(name, ' ', short_number(value)));
  return join(out, " · ");
}

double RunFacts::seconds() const {
  double out = recorded_seconds;
  for (const auto& step : log.steps)
    if (std::isfinite(step.seconds) && !(step.seconds <= out)) out = step.seconds;
  for (const auto& evaluation : log.evaluations)
    if (std::isfinite(evaluation.seconds) && !(evaluation.seconds <= out)) out = evaluation.seconds;
  return out;
}

double RunFacts::tokens_per_second() const {
  std::vector<double> rates;
  for (const auto& step : log.steps)
    if (std::isfinite(step.tokens_per_second)) rates.push_back(step.tokens_per_second);
  if (rates.empty()) return analyze::kNotLogged;
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

bool is_comparison(const Path& folder) {
  auto& files = real_files();
  if (files.exists(folder / "config.toml")) return false;  // a run beside whose files others stand
  return files.exists(folder / "moe" / "config.toml") || !seed_folders(folder).empty();
}

ReportData gather(const Path& folder, const GatherOptions& options) {
  ReportData data;
  data.title = name_of(folder);
  data.machine = this_machine();
  Path run = folder;
  if (is_comparison(folder)) {
    const auto seeds = seed_folders(folder);
    const Path pair = seeds.empty() ? folder : seeds.front();
    if (seeds.size() > 1) add_seeds(data, seeds);
    run = pair / "moe";
    attempt(data.notes, "The dense twin",
            [&] { data.twin = facts_of(pair / "dense", data.notes); });
  }
  data.run = facts_of(run, data.notes);
  if (data.run.moe_layers() == 0)
    data.notes.push_back("Experts: the model is dense, so there is no routing to show.");
  else if (options.tokens != 0)
    attempt(data.notes, "Routing of held-out text",
            [&] { data.study = study_of(run, options, data.run.tokens()); });
  return data;
}

}  // namespace moe::report
