#include "tools/moe/bench_timing.h"

#include <algorithm>
#include <chrono>

#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <torch/headeronly/version.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/instruction_set.h>

namespace moe::tools {

double Timing::median() const {
  auto sorted = ms;
  std::sort(sorted.begin(), sorted.end());
  const size_t n = sorted.size();
  return n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double Timing::min() const {
  return *std::min_element(ms.begin(), ms.end());
}

double Timing::max() const {
  return *std::max_element(ms.begin(), ms.end());
}

namespace {

double milliseconds(const Work& work) {
  // A GPU works on after the call returns.
  const auto wait = [&] {
    if (work.device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(work.device.index());
  };
  wait();
  const auto start = std::chrono::steady_clock::now();
  work.once();
  wait();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

std::vector<Timing> time_in_turn(const std::vector<Work>& works, int64_t repeat, int64_t warmup) {
  check<ConfigError>(repeat >= 1 && repeat <= 1000000 && warmup >= 0 && warmup <= 1000000, "bench",
                     "expected --repeat in [1, 1000000] and --warmup in [0, 1000000], got ", repeat,
                     " and ", warmup, ". Correct them.");
  std::vector<Timing> out(works.size());
  for (int64_t round = -warmup; round < repeat; ++round)
    for (size_t i = 0; i < works.size(); ++i) {
      const double ms = milliseconds(works[i]);
      if (round >= 0) out[i].ms.push_back(ms);
    }
  return out;
}

double gflops(const Timing& timing, const Work& work) {
  return static_cast<double>(work.flops) / timing.median() / 1e6;
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
  out["work"] = {
      {"shapes", work.shapes},  {"flops", work.flops},    {"threads", at::get_num_threads()},
      {"cpu", cpu_name()},      {"dtype", common.dtype},  {"device", common.device},
      {"torch", TORCH_VERSION}, {"repeat", common.repeat}};
  if (work.device.is_cpu())
    out["work"]["instruction_set"] = ops::cpu::name_of(ops::cpu::instruction_set());
  return out;
}

}  // namespace moe::tools
