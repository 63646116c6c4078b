#include "tools/moe/bench_timing.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <torch/headeronly/version.h>

#include <moe/base/error.h>

#include "tools/moe/bench_wait.h"

namespace moe::tools {

namespace {

/// Repetitions that a limit of seconds leaves in any case.
constexpr int64_t kFewest = 3;

std::vector<double> sorted_times(const Timing& timing) {
  std::vector<double> out;
  for (const auto& sample : timing.samples) out.push_back(sample.ms);
  std::sort(out.begin(), out.end());
  return out;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void check_repeats(const Repeats& r) {
  check<ConfigError>(r.repeat >= 1 && r.repeat <= 1000000 && r.warmup >= 0 && r.warmup <= 1000000,
                     "bench",
                     "expected --repeat in [1, 1000000] and --warmup in [0, 1000000], got ",
                     r.repeat, " and ", r.warmup, ". Correct them.");
}

double Timing::median() const {
  const auto sorted = sorted_times(*this);
  const size_t n = sorted.size();
  return n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double Timing::min() const {
  return sorted_times(*this).front();
}

double Timing::max() const {
  return sorted_times(*this).back();
}

std::optional<double> Timing::wait() const {
  double sum = 0;
  for (const auto& sample : samples) {
    if (!sample.wait) return std::nullopt;
    sum += *sample.wait;
  }
  return sum / static_cast<double>(samples.size());
}

Sample take_sample(const Work& work) {
  // A GPU works on after the call returns.
  const auto finish = [&] {
    if (work.device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(work.device.index());
  };
  finish();
  const double waited = seconds_waited_for_a_core();
  const double begin = now();
  work.once();
  finish();
  const double seconds = now() - begin;
  Sample out{1e3 * seconds, std::nullopt};
  const double waited_now = seconds_waited_for_a_core();
  if (waited >= 0 && waited_now >= 0)
    // A thread that ended is missing from the second count: never below 0.
    out.wait = std::max(0.0, waited_now - waited) / (seconds * at::get_num_threads());
  return out;
}

std::vector<Timing> time_in_turn(const std::vector<Work>& works, const Repeats& repeats) {
  check_repeats(repeats);
  std::vector<Timing> out(works.size());
  const auto one = [&](size_t i) {
    Sample sample = take_sample(works[i]);
    while (sample.wait.value_or(0) > kMostWait && out[i].retaken < repeats.repeat) {
      ++out[i].retaken;
      sample = take_sample(works[i]);
    }
    out[i].samples.push_back(sample);
  };
  for (int64_t round = 0; round < repeats.warmup; ++round)
    for (const auto& work : works) work.once();
  const double begin = now();
  for (int64_t round = 0; round < repeats.repeat; ++round) {
    if (repeats.seconds > 0 && round >= kFewest && now() - begin > repeats.seconds) break;
    for (size_t i = 0; i < works.size(); ++i) one(i);
  }
  return out;
}

double gflops(const Timing& timing, const Work& work) {
  return static_cast<double>(work.flops) / timing.median() / 1e6;
}

std::string wait_text(const Timing& timing) {
  const auto wait = timing.wait();
  if (!wait) return "";
  char text[96];
  std::snprintf(text, sizeof text, "cpu wait %.1f %%, %lld of %zu samples taken again", 100 * *wait,
                static_cast<long long>(timing.retaken), timing.samples.size());
  return text;
}

Json timing_json(const Timing& timing, const Work& work, const BenchCommon& common) {
  Json out;
  out["median_ms"] = timing.median();
  out["min_ms"] = timing.min();
  out["max_ms"] = timing.max();
  out["gflops"] = gflops(timing, work);
  if (work.peak_gflops > 0) {
    out["peak_gflops"] = work.peak_gflops;
    out["share_of_peak"] = gflops(timing, work) / work.peak_gflops;
  }
  out["bytes"] = work.bytes;
  if (work.bound) out.update(bound_json(*work.bound, timing.median()));
  if (!work.kernels.empty()) out["instruction_set"] = work.kernels;
  out["threads"] = at::get_num_threads();
  out["cpu"] = cpu_name();
  if (const auto wait = timing.wait()) out["cpu_wait"] = *wait;
  out["samples"] = timing.samples.size();
  out["retaken"] = timing.retaken;
  out["work"] = {
      {"shapes", work.shapes},  {"flops", work.flops},    {"threads", at::get_num_threads()},
      {"cpu", cpu_name()},      {"dtype", common.dtype},  {"device", common.device},
      {"torch", TORCH_VERSION}, {"repeat", common.repeat}};
  if (out.contains("instruction_set")) out["work"]["instruction_set"] = out["instruction_set"];
  return out;
}

}  // namespace moe::tools
