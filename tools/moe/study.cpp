// moe study NAME --out DIR: every registered kind, trained alike and compared.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>

#include <corpora/corpora.h>
#include <moe/base/date.h>
#include <moe/base/log.h>
#include <moe/config/toml.h>
#include <moe/study/runner.h>
#include <moe/study/summary.h>
#include <report/study/page.h>

#include "tools/moe/common.h"
#include "tools/moe/signals.h"
#include "tools/moe/study_processes.h"

namespace moe::tools {

namespace {

using Clock = std::chrono::steady_clock;

struct StudyCommand {
  std::string name, out, config, run;
  std::vector<std::string> data, kinds, settings;
  int64_t seeds = 3, steps = 0, parallel = 0, threads = 1;
  bool list = false, json = false;
};

void setup_study(CLI::App& app, StudyCommand& o) {
  app.add_option("NAME", o.name, "routers, balance or experts (--list says what each compares)");
  app.add_option("--out", o.out, "folder to write to; finished runs in it are not done again")
      ->type_name("DIR");
  app.add_option("--seeds", o.seeds, "trainings of each row, with seeds 1 to N")
      ->capture_default_str();
  app.add_option("--steps", o.steps, "steps of a training; default: 400, or those of --config");
  app.add_option("--data", o.data,
                 "files of text instead of the demo's; the last tenth of each validates")
      ->type_name("demo|FILE ...");
  app.add_option("--config", o.config,
                 "the run that every row changes, as TOML, instead of the study's own")
      ->type_name("FILE.toml");
  app.add_option("--kinds", o.kinds, "compare only these, separated by commas, with the baseline")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--parallel", o.parallel,
                 "trainings at once, each a process; default: cores over --threads");
  app.add_option("--threads", o.threads, "threads of one training")->capture_default_str();
  add_set(app, o.settings);
  app.add_flag("--list", o.list, "list the studies, or the rows of NAME, and train nothing");
  add_json(app, o.json);
  app.add_option("--run", o.run, "train one task: what a study starts its processes with")
      ->group("");
}

std::vector<data::DomainOptions> demo_text(const Path& folder) {
  std::vector<data::DomainOptions> out;
  if (!real_files().exists(folder / "CHECKSUMS")) corpora::write(folder.string(), {});
  corpora::verify(folder.string());
  for (const auto& name : corpora::domain_names()) {
    data::DomainOptions domain;
    domain.name = name;
    domain.train = (folder / name / "train.txt").string();
    domain.valid = (folder / name / "valid.txt").string();
    out.push_back(domain);
  }
  return out;
}

std::vector<data::DomainOptions> text_files(const std::vector<std::string>& files) {
  std::vector<data::DomainOptions> out;
  for (const auto& file : files) {
    check_input_file("--data", file);
    data::DomainOptions domain;
    domain.name = Path(file).stem().string();
    domain.path = file;
    out.push_back(domain);
  }
  return out;
}

/// What every row of the study trains but for its kind.
train::RunOptions base_run(const StudyCommand& o) {
  train::RunOptions base;
  const bool demo = o.data.empty() || o.data == std::vector<std::string>{"demo"};
  if (!o.config.empty()) {
    check<ConfigError>(o.data.empty(), "--data",
                       "expected --config or --data, got both. Name the "
                       "data in the configuration.");
    read_fields(base, config::read_toml(o.config), "");
  } else {
    base = study::small_run(demo ? demo_text(Path(o.out) / "data") : text_files(o.data));
  }
  if (o.steps > 0) {
    base.train.steps = o.steps;
    if (o.config.empty()) {
      base.train.eval_every = std::max<int64_t>(o.steps / 10, 1);
      base.train.schedule.warmup = o.steps / 10;
    }
  }
  base.train.threads = o.threads;
  Table table = write_fields(base);
  apply_settings(table, o.settings);
  base = {};
  read_fields(base, table, "");
  return base;
}

/// The line a person watches: runs done, the time left at the pace so far.
class StudyProgress {
 public:
  explicit StudyProgress(std::string label) : label_(std::move(label)) {}

  void operator()(size_t done, size_t all, const study::RunResult* last) {
    if (!last) first_ = done;
    const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    std::string line = concat(label_, ' ', done, '/', all, " runs");
    if (last) {
      char loss[64];
      std::snprintf(loss, sizeof loss, "loss %.4f", last->loss);
      line += concat("  ", last->variant, ", seed ", last->seed, ": ",
                     last->failure.empty() ? loss : "not trained: " + last->failure);
    }
    if (done > first_ && done < all)
      line += concat("  ",
                     clock_text(seconds / static_cast<double>(done - first_) *
                                static_cast<double>(all - done)),
                     " left");
    if (!log::is_terminal()) return log::info(line);
    constexpr size_t kWidth = 20;
    const size_t full = all > 0 ? done * kWidth / all : kWidth;
    std::string bar;
    for (size_t i = 0; i < kWidth; ++i) bar += i < full ? "█" : "░";
    log::status_line(done < all ? line + "  " + bar : "");
  }

 private:
  std::string label_;
  Clock::time_point begin_ = Clock::now();
  size_t first_ = 0;
};

void list_studies(bool json) {
  Json out = Json::array();
  for (const auto& study : study::studies()) {
    if (!json) std::cout << study.name << ": " << study.help << '\n';
    out.push_back({{"name", study.name}, {"help", study.help}});
  }
  if (json) print_json({{"study", out}});
}

void list_rows(const study::Plan& plan, bool json) {
  Json out = Json::array();
  for (const auto& row : plan.variants) {
    out.push_back({{"name", row.name},
                   {"kind", row.kind},
                   {"group", row.group},
                   {"note", row.note},
                   {"reference", row.reference},
                   {"left_out", row.left_out}});
    if (!json)
      std::cout << row.name << " (" << row.group << (row.reference ? ", to compare with" : "")
                << "): " << (row.left_out.empty() ? row.note : "left out: " + row.left_out) << '\n';
  }
  if (json) print_json({{"study", plan.name}, {"rows", out}});
}

std::string figure_text(const study::Figure& figure, const char* format) {
  if (!std::isfinite(figure.mean)) return "–";
  char text[64];
  std::snprintf(text, sizeof text, format, figure.mean);
  std::string out = text;
  if (std::isfinite(figure.half_width)) {
    std::snprintf(text, sizeof text, " ± %.4f", figure.half_width);
    out += text;
  }
  return out;
}

void print_summary(const study::StudySummary& summary) {
  for (const auto& group : summary.groups) {
    const auto rows = summary.rows_of(group.name);
    if (rows.empty()) continue;
    std::printf("%s\n%-28s %-20s %-20s %9s %9s\n", group.title.c_str(), "", "loss", "at equal time",
                "tokens/s", "max/mean");
    for (const auto* row : rows)
      if (row->seeds > 0)
        std::printf("%-28s %-20s %-20s %9s %9.2f\n", row->name.c_str(),
                    figure_text(row->loss, "%.4f").c_str(),
                    figure_text(row->loss_at_equal_time, "%.4f").c_str(),
                    grouped(std::llround(row->tokens_per_second)).c_str(), row->max_over_mean);
      else
        std::printf("%-28s not trained: %s\n", row->name.c_str(), row->failure.c_str());
  }
  for (const auto& row : summary.left_out)
    std::printf("%-28s left out: %s\n", row.name.c_str(), row.why.c_str());
}

void write_text(const Path& path, const std::string& text) {
  write_file_atomically(real_files(), path, [&](OutputFile& file) { file.write(bytes_of(text)); });
}

int train_study(const StudyCommand& o, const study::Plan& plan) {
  catch_stop_signals();
  const int64_t at_once =
      o.parallel > 0 ? o.parallel
                     : std::max<int64_t>(usable_cores() / std::max<int64_t>(o.threads, 1), 1);
  const auto launcher = run_in_processes(at_once, o.threads);
  StudyProgress progress("study " + o.name);
  const bool finished = study::run_study(
      plan, o.out, *launcher,
      {.stop = caught_signal,
       .progress = [&](size_t done, size_t all, const auto* last) { progress(done, all, last); }});
  if (!finished) {
    log::info(concat("stopped by signal ", caught_signal(), "; the same command goes on."));
    return exit_status_of(caught_signal());
  }
  const auto summary = study::summarise(
      plan, o.out,
      {.date = date_now(), .version = MOE_VERSION, .machine = cpu_name(), .at_once = at_once});
  const std::string json = study::write_summary(summary);
  write_text(Path(o.out) / "study.json", json);
  write_text(Path(o.out) / "study.html", report::study::render(summary));
  if (o.json)
    print_json(Json::parse(json));
  else
    print_summary(summary);
  log::info(concat("study: ", (Path(o.out) / "study.html").string()));
  return 0;
}

int run_study_command(const StudyCommand& o) {
  if (!o.run.empty()) return run_study_task(o.run);
  check<ConfigError>(!o.name.empty() || o.list, "study",
                     "expected the name of a study, got none. moe study --list says which there "
                     "are.");
  if (o.list && o.name.empty()) {
    list_studies(o.json);
    return 0;
  }
  study::study_named(o.name);
  check<ConfigError>(!o.out.empty() || o.list, "--out",
                     "expected a folder to write to, got none. Name one.");
  check<ConfigError>(o.steps >= 0 && o.parallel >= 0 && o.threads >= 1, "study",
                     "expected --steps, --parallel and --threads above 0, got ", o.steps, ", ",
                     o.parallel, " and ", o.threads, ". Correct them.");
  if (o.list && o.out.empty()) {
    // Rows do not depend on the text.
    study::StudyOptions options{.name = o.name, .seeds = 1, .kinds = o.kinds};
    options.base = study::small_run({});
    list_rows(study::make_plan(options), o.json);
    return 0;
  }
  make_folders(real_files(), o.out);
  use_threads(1);
  const auto plan =
      study::make_plan({.name = o.name, .seeds = o.seeds, .kinds = o.kinds, .base = base_run(o)});
  if (o.list) {
    list_rows(plan, o.json);
    return 0;
  }
  return train_study(o, plan);
}

}  // namespace

void add_study(CLI::App& program, Session& session) {
  add_command<StudyCommand>(
      program, session,
      {"study",
       "Trains every registered kind alike, over several seeds, and compares them on one page.",
       "moe study --list && moe study routers --out out/routers", setup_study, run_study_command});
}

}  // namespace moe::tools
