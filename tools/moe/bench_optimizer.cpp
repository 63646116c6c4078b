// moe bench optimizer: gradient norm, clipping and update of experts' weights, beside what the
// memory of this machine does in the same minutes. E experts, D width, F hidden units.
#include "tools/moe/bench_optimizer.h"

#include <iomanip>
#include <iostream>

#include <ATen/Parallel.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/ops/newton_schulz.h>
#include <moe/ops/random_fill.h>
#include <moe/train/clip.h>
#include <moe/train/optimizer.h>

#include "tools/moe/bench_layer.h"

namespace moe::tools {

namespace {

struct OptimizerBench : BenchCommon {
  std::string kind = "adamw";
  int64_t d_model = 512;
  int64_t d_ff = 512;
  int64_t experts = 32;
  int64_t idle = 0;
  bool unclipped = false;
};

void setup_optimizer(CLI::App& app, OptimizerBench& o) {
  app.add_option("--kind", o.kind, "a registered optimizer")->capture_default_str();
  app.add_option("--d-model", o.d_model, "width, D")->capture_default_str();
  app.add_option("--d-ff", o.d_ff, "hidden units of an expert, F")->capture_default_str();
  app.add_option("--experts", o.experts, "experts, E")->capture_default_str();
  app.add_option("--idle", o.idle, "experts that no token reached, with gradients of zero")
      ->capture_default_str();
  app.add_flag("--unclipped", o.unclipped, "gradients within the clip, which change nothing");
  add_repeats(app, o);
  app.add_option("--dtype", o.dtype, "of weights, gradients and moments: float32 or float64")
      ->capture_default_str();
  add_threads(app, o.threads);
  add_seed(app, o.seed);
  add_json(app, o.json);
}

void check_options(const OptimizerBench& o) {
  check_one_of("bench", "--kind", o.kind, train::optimizers().names());
  check_one_of("bench", "--dtype", o.dtype, {"float32", "float64"});
  for (const auto& [name, size] : {std::pair{"--d-model", o.d_model}, std::pair{"--d-ff", o.d_ff},
                                   std::pair{"--experts", o.experts}})
    check<ConfigError>(size >= 1 && size <= (int64_t{1} << 20), "bench", "expected ", name,
                       " in [1, 1048576], got ", size, ". Correct it.");
  check<ConfigError>(o.idle >= 0 && o.idle < o.experts, "bench",
                     "expected --idle in [0, --experts=", o.experts, "), got ", o.idle,
                     ". Leave an expert with tokens.");
}

/// The two stacks of gated experts, with normal weights and gradients.
Parameters stacks(const OptimizerBench& o) {
  const ParameterInfo in{.part = Part::kExperts, .per_expert = true, .fused = {o.d_ff, o.d_ff}},
      out{.part = Part::kExperts, .per_expert = true};
  const auto type = parse_dtype(o.dtype);
  uint32_t part = 0;
  const auto normal = [&](const std::vector<int64_t>& sizes, double scale) {
    at::Tensor values = at::zeros(sizes, type);
    ops::fill_normal_(
        values, RandomStream(RandomKey{static_cast<uint64_t>(o.seed)}, Purpose::kTest, part++),
        scale);
    return values;
  };
  Parameters all;
  for (const auto& [name, info, sizes] :
       {std::tuple{"w_in", in, std::vector{o.experts, 2 * o.d_ff, o.d_model}},
        std::tuple{"w_out", out, std::vector{o.experts, o.d_model, o.d_ff}}}) {
    Parameter parameter{name, normal(sizes, 0.02).requires_grad_(true), info};
    parameter.tensor.mutable_grad() = normal(sizes, 1e-3);
    parameter.tensor.grad().narrow(0, 0, o.idle).zero_();
    all.push_back(std::move(parameter));
  }
  return all;
}

int64_t numbers_of(const Parameters& parameters) {
  int64_t count = 0;
  for (const auto& parameter : parameters) count += parameter.tensor.numel();
  return count;
}

/// The norm reads a gradient; AdamW reads parameter, gradient and two moments, and writes all but
/// the gradient.
int64_t bytes_of_step(const OptimizerBench& o, const Parameters& parameters) {
  const int64_t all = numbers_of(parameters),
                changed = o.kind == "lazy_adamw" ? all / o.experts * (o.experts - o.idle) : all;
  return (all + 7 * changed) * static_cast<int64_t>(parameters[0].tensor.element_size());
}

Work step_work(const OptimizerBench& o, const Parameters& parameters) {
  train::OptimizerOptions rules;
  rules.rule.kind = o.kind;
  const auto optimizer = train::make_optimizer(parameters, rules);
  const at::Tensor tokens_E = at::ones({o.experts}, at::kLong);
  tokens_E.narrow(0, 0, o.idle).zero_();
  const train::ExpertTokens tokens(parameters.size(), tokens_E);
  Work work;
  work.parameters = numbers_of(parameters);
  work.bytes = bytes_of_step(o, parameters);
  work.shapes = {{"kind", o.kind},       {"d_model", o.d_model}, {"d_ff", o.d_ff},
                 {"experts", o.experts}, {"idle", o.idle},       {"clipped", !o.unclipped}};
  work.once = [=, clipped = !o.unclipped, step = int64_t{0}]() mutable {
    const double norm = train::gradient_norm(parameters, parallel::local());
    // Hardly smaller each time, so that no gradient fades away over many repetitions.
    const double factor = train::clip_factor(norm, clipped ? 0.9999 * norm : 0);
    optimizer->step(1e-6, step++, tokens, factor);
  };
  return work;
}

/// As many bytes as the update moves, read and written back in order.
Work stream_work(int64_t bytes) {
  const at::Tensor numbers = at::ones({bytes / 2 / static_cast<int64_t>(sizeof(float))});
  Work work;
  work.bytes = 2 * static_cast<int64_t>(numbers.nbytes());
  work.once = [=] { numbers.mul_(1.0000001); };
  return work;
}

/// The products of Muon alone.
Work products_work(const OptimizerBench& o, const Parameters& parameters) {
  const int64_t steps = 5;
  Work work;
  std::vector<at::Tensor> matrices;
  for (const auto& [name, tensor, info] : parameters) {
    const auto parts = info.fused.empty() ? std::vector{tensor.size(1)} : info.fused;
    for (const auto& part : tensor.grad().split_with_sizes(parts, 1))
      matrices.push_back(part.contiguous());
  }
  const int64_t R = std::min(o.d_model, o.d_ff), C = std::max(o.d_model, o.d_ff);
  work.flops = 3 * o.experts * steps * (2 * R * C + R * R) * 2 * R;
  work.once = [=] {
    for (const auto& matrix : matrices) ops::newton_schulz(matrix, steps, parse_dtype("float32"));
  };
  return work;
}

double rate(const Timing& timing, const Work& work) {
  return static_cast<double>(work.bytes) / timing.median() / 1e6;
}

int bench_optimizer(const OptimizerBench& o) {
  check_options(o);
  use_threads(o.threads);
  const Parameters parameters = stacks(o);
  const bool muon = o.kind == "muon";
  std::vector<Work> works = {step_work(o, parameters)};
  works.push_back(muon ? products_work(o, parameters) : stream_work(works[0].bytes));
  if (muon) works[0].flops = works[1].flops;
  const auto timings = time_in_turn(works, {o.repeat, o.warmup});
  const double share = muon ? timings[1].median() / timings[0].median()
                            : rate(timings[0], works[0]) / rate(timings[1], works[1]);
  if (o.json) {
    Json out = timing_json(timings[0], works[0], o);
    out["parameters"] = works[0].parameters;
    if (muon) {
      out["products_ms"] = timings[1].median();
      out["share_of_products"] = share;
    } else {
      out["gb_per_second"] = rate(timings[0], works[0]);
      out["stream_gb_per_second"] = rate(timings[1], works[1]);
      out["share_of_stream"] = share;
    }
    print_json(out);
    return 0;
  }
  std::cout << std::fixed << std::setprecision(1) << "median " << timings[0].median()
            << " ms  (min " << timings[0].min() << ", max " << timings[0].max() << "), "
            << at::get_num_threads() << " threads, " << cpu_name() << '\n';
  if (const auto wait = wait_text(timings[0]); !wait.empty()) std::cout << wait << '\n';
  std::cout << grouped(works[0].parameters) << " parameters";
  if (muon)
    std::cout << ", its products alone " << timings[1].median() << " ms, " << 100 * share
              << " % of the step\n";
  else
    std::cout << ", " << rate(timings[0], works[0]) << " GB/s read and written, " << 100 * share
              << " % of the " << rate(timings[1], works[1])
              << " GB/s of a plain pass over memory in turn\n";
  return 0;
}

}  // namespace

void add_bench_optimizer(CLI::App& group, Session& session) {
  add_command<OptimizerBench>(
      group, session,
      {"optimizer",
       "Gradient norm, clipping and update of experts' weights, against the memory's bandwidth.",
       "moe bench optimizer --experts 8 --d-model 64 --d-ff 64", setup_optimizer, bench_optimizer});
}

}  // namespace moe::tools
