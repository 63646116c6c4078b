#pragma once
// Gradients put into sinks by hand. E experts.

#include <algorithm>
#include <limits>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <moe/ops/gradient_sink.h>

namespace moe::test {

inline ops::GradientSinkPtr sink_of(const at::Tensor& parameter) {
  return c10::make_intrusive<ops::GradientSink>(parameter);
}

/// A pass that leaves `gradient` to the experts of `live` and zeros to the others.
inline void put(ops::GradientSink& sink, const at::Tensor& gradient,
                const std::vector<int64_t>& live) {
  const at::NoGradGuard no_grad;
  const at::Tensor sums = sink.begin();
  for (int64_t e = 0; e < sums.size(0); ++e) {
    auto& state = sink.state_E()[e];
    if (std::find(live.begin(), live.end(), e) != live.end()) {
      if (state == ops::cpu::SumState::kLive)
        sums.select(0, e).add_(gradient.select(0, e));
      else
        sums.select(0, e).copy_(gradient.select(0, e));
      state = ops::cpu::SumState::kLive;
    } else if (state == ops::cpu::SumState::kStale) {
      sums.select(0, e).zero_();
      state = ops::cpu::SumState::kZero;
    }
  }
  sink.end();
}

/// Fills the memory of expert e behind everybody's back: its zeros stay known.
inline void poison(const at::Tensor& gradient, int64_t e) {
  const int64_t size = gradient.numel() / gradient.size(0);
  std::fill_n(gradient.mutable_data_ptr<float>() + e * size, size,
              std::numeric_limits<float>::quiet_NaN());
}

inline bool is_poisoned(const at::Tensor& gradient, int64_t e) {
  return gradient.select(0, e).isnan().all().item<bool>();
}

}  // namespace moe::test
