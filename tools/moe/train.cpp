// moe train CONFIG.toml --out DIR

#include <iostream>

#include <moe/base/log.h>
#include <moe/models/counts.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/train/run.h>
#include <report/write.h>

#include "tools/moe/ranks.h"
#include "tools/moe/run_argument.h"
#include "tools/moe/signals.h"

namespace moe::tools {

namespace {

struct TrainCommand {
  RunArgument run;
  std::optional<int64_t> seed;
  bool resume = false;
  int64_t max_steps = -1;
  bool json = false;
};

void setup_train(CLI::App& app, TrainCommand& o) {
  add_run(app, o.run);
  app.add_option("--seed", o.seed,
                 "seed of parameters, data order and dropout; default: train.seed of the "
                 "configuration");
  app.add_flag("--resume", o.resume, "go on from the newest checkpoint in DIR");
  app.add_option_function<int64_t>(
      "--max-steps",
      [&o](const int64_t& number) {
        check<ConfigError>(number >= 0, "--max-steps", "expected a number of at least 0, got ",
                           number, ". Leave the option out for no limit.");
        o.max_steps = number;
      },
      "stop, with a checkpoint, after so many steps in all; default: train.steps of the "
      "configuration");
  add_json(app, o.json);
}

void announce(const train::Run& run) {
  const auto counts = models::count(run.options().model);
  const auto& t = run.options().train;
  log::info(concat("training ", grouped(counts.total), " parameters, ", grouped(counts.active),
                   " active a token, on ", cpu_name(), " (",
                   ops::cpu::name_of(ops::cpu::instruction_set()), "): ", t.steps, " steps of ",
                   t.batch * t.accumulation, " rows, ", t.dtype, ", into ", run.folder().string()));
}

int exit_status(const train::RunSummary& summary) {
  return summary.stopped_by == 0 ? 0 : exit_status_of(summary.stopped_by);
}

int run_train(const TrainCommand& o) {
  check<ConfigError>(o.resume || !o.run.allow_changed_data, "--allow-changed-data",
                     "expected --resume beside it, got none. Add it, or leave both out.");
  auto argument = o.run;
  if (o.seed) argument.settings.push_back(concat("train.seed=", *o.seed));
  const auto group = join_ranks();
  auto run = open_run(argument);
  use_ranks(run.options().parallel, run.options().train.threads);
  catch_stop_signals();
  const train::RunControls controls{.group = group,
                                    .stop = caught_signal,
                                    .ready = [&run] { announce(run); },
                                    .max_steps = o.max_steps,
                                    .allow_changed_data = o.run.allow_changed_data,
                                    .label = "train"};
  const auto summary = o.resume ? run.resume(controls) : run.start(controls);
  if (group->rank() > 0) return exit_status(summary);
  // The trainer is gone: its memory is free for the checkpoint that the report looks at.
  report::try_write_report(run.folder());
  const auto& record = summary.record;
  if (!summary.metrics.empty()) log::info(analyze::summary_table(summary.metrics));
  if (const auto table = train::exchange_table(summary.exchange); !table.empty()) log::info(table);
  const bool evaluated = record.best_step >= 0;
  if (o.json) {
    print_json({{"steps", record.step},
                {"resumed_from", summary.resumed_from < 0 ? Json() : Json(summary.resumed_from)},
                {"tokens", record.tokens},
                {"seconds", record.seconds},
                {"loss", evaluated ? Json(summary.final_loss) : Json()},
                {"loss_step", evaluated ? Json(record.last_evaluation) : Json()},
                {"best_loss", evaluated ? Json(record.best_loss) : Json()},
                {"best_step", evaluated ? Json(record.best_step) : Json()}});
  } else {
    std::cout << "step " << record.step << " after " << clock_text(record.seconds);
    if (summary.resumed_from >= 0) std::cout << ", resumed from step " << summary.resumed_from;
    if (evaluated) {
      std::cout << ", validation loss " << summary.final_loss;
      if (record.last_evaluation != record.step) std::cout << " at step " << record.last_evaluation;
      std::cout << " (best " << record.best_loss << " at step " << record.best_step << ")";
    }
    std::cout << "\n";
  }
  if (summary.stopped_by != 0)
    log::info(concat("stopped by signal ", summary.stopped_by, "; `moe train ",
                     (run.folder() / "config.toml").string(), " --out ", run.folder().string(),
                     " --resume` goes on."));
  return exit_status(summary);
}

}  // namespace

void add_train(CLI::App& program, Session& session) {
  add_command<TrainCommand>(
      program, session,
      {"train",
       "Trains a model as a TOML file describes it; under mpirun or srun, on all ranks together.",
       "moe data synth --out out/demo/data && moe train configs/demo.toml --out out/mine",
       setup_train, run_train, /*takes_ranks=*/true});
}

}  // namespace moe::tools
