#include "tools/moe/bench_bound.h"

namespace moe::tools {

std::optional<Bound> bound_of(int64_t flops, int64_t weight_bytes, bool training,
                              at::ScalarType type, const ops::cpu::MachineLimits& limits) {
  const double peak = limits.peak(type);
  if (peak <= 0 || limits.read <= 0) return std::nullopt;
  Bound out{.limits = limits};
  out.moved_bytes = (training ? 3 : 1) * weight_bytes;
  out.compute_ms = static_cast<double>(flops) / peak / 1e6;
  out.memory_ms = static_cast<double>(out.moved_bytes) / limits.read / 1e6;
  return out;
}

const ops::cpu::MachineLimits& limits_of_this_machine() {
  static const ops::cpu::MachineLimits limits = ops::cpu::measured_limits();
  return limits;
}

Json limits_json(const ops::cpu::MachineLimits& limits) {
  return {{"float32_gflops", limits.float32},
          {"bfloat16_gflops", limits.bfloat16},
          {"int8_gops", limits.int8},
          {"read_gb_s", limits.read}};
}

Json bound_json(const Bound& bound, double median_ms) {
  return {{"bound_ms", bound.ms()},
          {"share_of_bound", bound.ms() / median_ms},
          {"bound",
           {{"compute_ms", bound.compute_ms},
            {"memory_ms", bound.memory_ms},
            {"moved_bytes", bound.moved_bytes}}},
          {"limits", limits_json(bound.limits)}};
}

}  // namespace moe::tools
