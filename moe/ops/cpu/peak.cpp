#include <algorithm>
#include <atomic>
#include <chrono>

#include <ATen/Parallel.h>

#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/peak.h>
#include <moe/ops/cpu/workspace.h>

namespace moe::ops::cpu {

namespace {

template <class T>
double best_rate(const ProductKernels<T>& kernels) {
  constexpr int64_t kRounds = 100000;
  const int64_t threads = at::get_num_threads();
  double best = 0;
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::atomic<int64_t> count = 0;
    const auto start = std::chrono::steady_clock::now();
    at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
      const Workspace memory(sizeof(float) * static_cast<size_t>(kernels.vector));
      std::fill_n(memory.as<float>(), kernels.vector, 0.0f);
      for (int64_t i = begin; i < end; ++i)
        count += kernels.multiply_adds(kRounds, memory.as<float>());
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2e-9 * static_cast<double>(count) / seconds.count());
  }
  return best;
}

}  // namespace

double measured_peak(at::ScalarType type) {
  if (instruction_set() == InstructionSet::kLibtorch) return 0;
  if (type == at::kFloat) return best_rate(kernels().float32);
  if (type == at::kBFloat16) return best_rate(kernels().bfloat16);
  return 0;
}

}  // namespace moe::ops::cpu
