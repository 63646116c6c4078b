// moe bench: how long a layer, its dense twin, a training step or an encoding takes.

#include <iomanip>
#include <iostream>

#include <ATen/Parallel.h>

#include <moe/base/error.h>
#include <moe/base/log.h>
#include <moe/ops/cpu/instruction_set.h>

#include "tools/moe/bench_layer.h"
#include "tools/moe/bench_optimizer.h"
#include "tools/moe/bench_suite.h"
#include "tools/moe/bench_tokenize.h"
#include "tools/moe/exchange_timing.h"

namespace moe::tools {

namespace {

void setup_model(CLI::App& app, ModelBench& o) {
  o.repeat = 5;
  o.warmup = 1;
  app.add_option("--vocabulary", o.vocabulary, "token ids, V")->capture_default_str();
  app.add_option("--d-model", o.d_model, "width, D")->capture_default_str();
  app.add_option("--layers", o.layers, "blocks, L")->capture_default_str();
  app.add_option("--heads", o.heads, "attention heads, H")->capture_default_str();
  app.add_option("--experts", o.experts, "experts a layer, E")->capture_default_str();
  app.add_option("--top-k", o.top_k, "experts a token chooses, K")->capture_default_str();
  app.add_option("--d-ff", o.d_ff, "hidden units of an expert, F")->capture_default_str();
  app.add_option("--sequence", o.sequence, "tokens of a sequence, S")->capture_default_str();
  app.add_option("--batch", o.batch, "sequences, B")->capture_default_str();
  app.add_flag("--dense", o.dense, "the dense twin instead: blocks of K F hidden units");
  add_bench_common(app, o);
}

int bench_model(const ModelBench& o) {
  use_threads(o.threads);
  const Work work = model_work(o);
  const Timing timing = time_in_turn({work}, {o.repeat, o.warmup}).front();
  const double per_second = static_cast<double>(o.batch * o.sequence) / timing.median() * 1e3;
  if (!o.json) {
    print_timing(timing, work);
    std::cout << grouped(static_cast<int64_t>(per_second)) << " tokens/s, "
              << grouped(work.parameters) << " parameters\n";
    return 0;
  }
  Json out = timing_json(timing, work, o);
  out["tokens_per_second"] = per_second;
  out["parameters"] = work.parameters;
  print_json(out);
  return 0;
}

/// The MoE layer against the dense block of equal active work, over several counts of experts.
struct CompareBench : LayerBench {
  std::vector<int64_t> counts = {8, 64, 512};
  std::vector<std::string> modes = {"forward", "train"};
  std::vector<std::string> dtypes = {"float32", "bfloat16"};
};

void setup_compare(CLI::App& app, CompareBench& o) {
  add_layer_shape(app, o);
  app.add_option("--experts", o.counts, "counts of experts, E")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--mode", o.modes, "forward, train or both")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--dtypes", o.dtypes, "types to compare in")
      ->delimiter(',')
      ->capture_default_str();
  add_repeats(app, o);
  add_device(app, o.device);
  add_threads(app, o.threads);
  add_seed(app, o.seed);
  add_json(app, o.json);
}

void print_comparison(const CompareBench& o, const Json& rows) {
  std::cout << cpu_name() << ", " << at::get_num_threads() << " threads, "
            << ops::cpu::instruction_sets_in_use() << "\nT=" << o.tokens << " D=" << o.d_model
            << " F=" << o.d_ff << " K=" << o.top_k << " " << o.expert << ", medians of " << o.repeat
            << ", in turn\n\n"
            << "mode     dtype       experts    MoE ms  dense ms  MoE/dense\n";
  for (const auto& row : rows)
    std::cout << std::left << std::setw(9) << row["mode"].get<std::string>() << std::setw(12)
              << row["dtype"].get<std::string>() << std::right << std::setw(7)
              << row["experts"].get<int64_t>() << std::fixed << std::setprecision(2)
              << std::setw(10) << row["layer"]["median_ms"].get<double>() << std::setw(10)
              << row["dense"]["median_ms"].get<double>() << std::setw(11)
              << row["ratio"].get<double>() << '\n';
}

int bench_compare(const CompareBench& o) {
  // Timing takes minutes: what the last of them could not time is refused before the first.
  for (const auto& mode : o.modes) check_one_of("bench", "--mode", mode, {"forward", "train"});
  for (const auto& dtype : o.dtypes) parse_dtype(dtype);
  use_threads(o.threads);
  Json rows = Json::array();
  for (const auto& mode : o.modes)
    for (const auto& dtype : o.dtypes)
      for (const int64_t experts : o.counts) {
        LayerBench one = o;
        one.mode = mode;
        one.dtype = dtype;
        one.experts = experts;
        log::info(concat("timing ", mode, ' ', dtype, " with ", experts, " experts"));
        const std::vector<Work> works = {layer_work(one), dense_work(one)};
        const auto timings = time_in_turn(works, {o.repeat, o.warmup});
        rows.push_back({{"mode", mode},
                        {"dtype", dtype},
                        {"experts", experts},
                        {"layer", timing_json(timings[0], works[0], one)},
                        {"dense", timing_json(timings[1], works[1], one)},
                        {"ratio", timings[0].median() / timings[1].median()}});
      }
  o.json ? print_json(rows) : print_comparison(o, rows);
  return 0;
}

}  // namespace

void add_bench(CLI::App& program, Session& session) {
  CLI::App& group = add_group(program, "bench",
                              "Times layers, training steps, optimizers, exchanges and tokenizers.",
                              "moe bench layer --experts 64 --mode train --json");
  add_bench_layer(group, session);
  add_command<ModelBench>(
      group, session,
      {"model", "One training step of a language model: forward, backward, clip, AdamW.",
       "moe bench model --d-model 128 --layers 4 --experts 8 --dense", setup_model, bench_model});
  add_command<CompareBench>(
      group, session,
      {"compare", "Layer against dense block in turn, over several counts of experts.",
       "moe bench compare --experts 8,64,512 --mode train --dtypes float32", setup_compare,
       bench_compare});
  add_bench_optimizer(group, session);
  add_bench_exchange(group, session);
  add_bench_tokenize(group, session);
  add_bench_suite(group, session);
  add_bench_report(group, session);
}

}  // namespace moe::tools
