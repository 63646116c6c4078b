// moe compare CONFIG.toml --out DIR: a MoE model against its dense twin.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>

#include <moe/base/log.h>
#include <moe/models/counts.h>
#include <moe/train/compare.h>
#include <report/write.h>

#include "tools/moe/run_argument.h"
#include "tools/moe/signals.h"

namespace moe::tools {

namespace {

struct CompareCommand {
  RunArgument run;
  int64_t seeds = 1;
  bool json = false;
};

void setup_compare(CLI::App& app, CompareCommand& o) {
  add_run(app, o.run);
  app.add_option("--seeds", o.seeds, "pairs to train, with seeds 1 to N")->capture_default_str();
  add_json(app, o.json);
}

std::string with_interval(const train::Interval& interval) {
  char text[96];
  if (std::isnan(interval.mean)) return "not measured";
  if (std::isnan(interval.half_width))
    std::snprintf(text, sizeof text, "%+.4f", interval.mean);
  else
    std::snprintf(text, sizeof text, "%+.4f ± %.4f (95 %%)", interval.mean, interval.half_width);
  return text;
}

/// What it takes to measure at equal time, where that was not done in every pair.
std::string what_is_missing(const std::vector<double>& at_equal_time) {
  const auto missing =
      std::ranges::count_if(at_equal_time, [](double value) { return std::isnan(value); });
  if (missing == 0) return "";
  return concat(
      " (in ", missing, " of ", at_equal_time.size(),
      " pairs the slower model was not evaluated before the faster one had ended; compare "
      "anew with more evaluations: train.eval_every)");
}

void print_counts(const models::ModelSpec& model) {
  const auto moe = models::count(model), dense = models::count(train::dense_twin(model));
  std::printf("%-22s %14s %14s\n", "", "MoE", "dense twin");
  std::printf("%-22s %14s %14s\n", "parameters", grouped(moe.total).c_str(),
              grouped(dense.total).c_str());
  std::printf("%-22s %14s %14s\n", "active a token", grouped(moe.active).c_str(),
              grouped(dense.active).c_str());
  std::printf("%-22s %14s %14s\n", "forward FLOPs a token", grouped(moe.flops_per_token).c_str(),
              grouped(dense.flops_per_token).c_str());
  std::fflush(stdout);
}

int run_compare(const CompareCommand& o) {
  check<ConfigError>(o.seeds >= 1 && o.seeds <= 100, "--seeds",
                     "expected a number in [1, 100], got ", o.seeds, ". Correct it.");
  const auto run = open_run(o.run);
  catch_stop_signals();
  const auto& model = run.options().model;
  const auto blocks = models::make_model(model)->blocks();
  check<ConfigError>(
      std::ranges::any_of(blocks, [](const auto& block) { return block->routes(); }), "compare",
      "expected a model with MoE layers in '", o.run.config,
      "', got a dense one, which is its own twin. Set model.moe.num_experts above 0 and "
      "model.moe.every to at most the number of layers.");
  if (!o.json) print_counts(model);

  std::vector<double> at_equal_steps, at_equal_time;
  Json pairs = Json::array();
  for (int64_t seed = 1; seed <= o.seeds; ++seed) {
    const Path folder = o.seeds == 1 ? run.folder() : run.folder() / concat("seed-", seed);
    const auto pair = train::compare_pair(
        run.options(), folder, seed,
        {.stop = caught_signal, .allow_changed_data = o.run.allow_changed_data});
    if (caught_signal() != 0) {
      report::try_write_report(run.folder());
      log::info(concat("stopped by signal ", caught_signal(), "; the same command goes on."));
      return exit_status_of(caught_signal());
    }
    at_equal_steps.push_back(pair.equal_steps_difference);
    at_equal_time.push_back(pair.equal_time_difference);
    pairs.push_back({{"seed", seed},
                     {"moe_loss", pair.moe_best},
                     {"dense_loss", pair.dense_best},
                     {"moe_seconds", pair.moe_seconds},
                     {"dense_seconds", pair.dense_seconds},
                     {"equal_steps_difference", pair.equal_steps_difference},
                     {"equal_time_difference", pair.equal_time_difference}});
    if (o.json) continue;
    std::printf("seed %ld: best validation loss %.4f (MoE, %s) against %.4f (dense, %s)\n",
                static_cast<long>(seed), pair.moe_best, clock_text(pair.moe_seconds).c_str(),
                pair.dense_best, clock_text(pair.dense_seconds).c_str());
    std::fflush(stdout);
  }
  report::try_write_report(run.folder());
  const auto steps = train::confidence_interval(at_equal_steps),
             time = train::confidence_interval(at_equal_time);
  if (o.json) {
    const auto interval = [](const train::Interval& i) {
      return Json{{"mean", i.mean}, {"half_width_95", i.half_width}};
    };
    print_json(
        {{"pairs", pairs}, {"equal_steps", interval(steps)}, {"equal_time", interval(time)}});
  } else {
    std::cout << "MoE − dense at equal steps: " << with_interval(steps)
              << (std::isnan(steps.mean) ? "" : " nats a token")
              << "; at equal time: " << with_interval(time) << what_is_missing(at_equal_time)
              << "\n";
  }
  return 0;
}

}  // namespace

void add_compare(CLI::App& program, Session& session) {
  add_command<CompareCommand>(
      program, session,
      {"compare", "Trains a MoE model and its dense twin of equal active FLOPs, and compares them.",
       "moe compare configs/demo.toml --out out/demo", setup_compare, run_compare});
}

}  // namespace moe::tools
