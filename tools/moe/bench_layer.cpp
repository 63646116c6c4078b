// moe bench layer, moe bench dense: a MoE layer and the block of equal active work.
#include "tools/moe/bench_layer.h"

#include <iomanip>
#include <iostream>

#include <ATen/Parallel.h>

#include <moe/base/error.h>

#include "tools/moe/bench_routing.h"

namespace moe::tools {

void add_repeats(CLI::App& app, BenchCommon& o) {
  app.add_option("--repeat", o.repeat, "timed repetitions")->capture_default_str();
  app.add_option("--warmup", o.warmup, "repetitions before these")->capture_default_str();
}

void add_bench_common(CLI::App& app, BenchCommon& o) {
  add_repeats(app, o);
  add_dtype(app, o.dtype);
  add_device(app, o.device);
  add_threads(app, o.threads);
  add_seed(app, o.seed);
  add_json(app, o.json);
}

void add_layer_shape(CLI::App& app, LayerBench& o) {
  app.add_option("--tokens", o.tokens, "tokens, T")->capture_default_str();
  app.add_option("--d-model", o.d_model, "width, D")->capture_default_str();
  app.add_option("--d-ff", o.d_ff, "hidden units of an expert, F")->capture_default_str();
  app.add_option("--top-k", o.top_k, "experts a token chooses, K")->capture_default_str();
  app.add_option("--expert", o.expert,
                 "a registered kind of expert, with its default options (`moe inspect --list "
                 "expert`); bench dense: gated or ffn")
      ->capture_default_str();
}

namespace {

void print_bound(const Timing& timing, const Bound& bound) {
  const auto& limits = bound.limits;
  std::cout << std::setprecision(3) << "bound " << bound.ms() << " ms (arithmetic "
            << bound.compute_ms << ", memory " << bound.memory_ms << "), " << std::setprecision(0)
            << 100 * bound.ms() / timing.median() << " % of it reached\n"
            << "this machine: float32 " << limits.float32 << " GFLOP/s, bfloat16 "
            << limits.bfloat16 << " GFLOP/s, int8 " << limits.int8 << " GOP/s, "
            << std::setprecision(1) << limits.read << " GB/s read\n";
}

}  // namespace

void print_timing(const Timing& timing, const Work& work) {
  std::cout << std::fixed << std::setprecision(3) << "median " << timing.median() << " ms  (min "
            << timing.min() << ", max " << timing.max() << ")\n"
            << std::setprecision(1) << gflops(timing, work) << " GFLOP/s, " << grouped(work.bytes)
            << " bytes, " << at::get_num_threads() << " threads, " << cpu_name() << '\n';
  if (work.peak_gflops > 0)
    std::cout << std::setprecision(0) << 100 * gflops(timing, work) / work.peak_gflops
              << " % of the " << work.peak_gflops << " GFLOP/s that multiply-adds reach with "
              << work.kernels << '\n';
  if (work.bound) print_bound(timing, *work.bound);
  if (const std::string wait = wait_text(timing); !wait.empty()) std::cout << wait << '\n';
}

namespace {

void setup_layer(CLI::App& app, LayerBench& o) {
  add_layer_shape(app, o);
  app.add_option("--experts", o.experts, "experts, E")->capture_default_str();
  app.add_option("--router", o.router, "a registered router (`moe inspect --list router`)")
      ->capture_default_str();
  app.add_option("--routing", o.routing,
                 "where tokens go: learned (as the router starts), balanced, zipf, or one (expert "
                 "0 is the first choice of all)")
      ->capture_default_str();
  app.add_option("--mode", o.mode, "forward, or train: forward and backward")
      ->capture_default_str();
  app.add_flag("--requests", o.requests,
               "take one sample for each line on standard input and print it as a line of JSON, "
               "so that programs can be timed in turn; no --repeat");
  add_bench_common(app, o);
}

/// Says "ready", then answers every line with a sample.
void answer_requests(const Work& work, const BenchCommon& o) {
  for (int64_t i = 0; i < o.warmup; ++i) work.once();
  Json ready = {{"ready", true}};
  if (work.bound) ready.update({{"bound_ms", work.bound->ms()}});
  if (work.bound) ready["limits"] = limits_json(work.bound->limits);
  if (!work.kernels.empty()) ready["instruction_set"] = work.kernels;
  std::cout << ready.dump() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const Sample sample = take_sample(work);
    Json out = {{"ms", sample.ms}};
    if (sample.wait) out["cpu_wait"] = *sample.wait;
    std::cout << out.dump() << std::endl;
  }
}

template <Work (*make)(const LayerBench&)>
int bench_layer(const LayerBench& o) {
  check<ConfigError>(o.warmup >= 0 && o.warmup <= 1000000, "bench",
                     "expected --warmup in [0, 1000000], got ", o.warmup, ". Correct it.");
  use_threads(o.threads);
  const Work work = make(o);
  if (o.requests) {
    answer_requests(work, o);
    return 0;
  }
  const Timing timing = time_in_turn({work}, {o.repeat, o.warmup}).front();
  o.json ? print_json(timing_json(timing, work, o)) : print_timing(timing, work);
  return 0;
}

}  // namespace

void add_bench_layer(CLI::App& group, Session& session) {
  add_command<LayerBench>(
      group, session,
      {"layer", "A Mixture-of-Experts layer.",
       "moe bench layer --tokens 4096 --d-model 256 --d-ff 512 --experts 64 --top-k 2", setup_layer,
       bench_layer<layer_work>});
  add_command<LayerBench>(
      group, session,
      {"dense", "The feed-forward block of equal active work: K F hidden units.",
       "moe bench dense --tokens 4096 --d-model 256 --d-ff 512 --top-k 2", setup_layer,
       bench_layer<dense_work>});
}

}  // namespace moe::tools
