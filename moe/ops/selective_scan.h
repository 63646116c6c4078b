#pragma once
// The recurrence of Mamba's channels. T tokens, N sequences, I channels, S numbers of state a
// channel.

#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// What each token brings, float32 or float64: x_TI, its step sizes dt_TI, and what the channels
/// share of it, b_TS and c_TS; a_IS are the rates of all tokens.
struct ScanInputs {
  Tensor x_TI, dt_TI, a_IS, b_TS, c_TS;
};

/// (T, I): y_i = s_i · c of each channel's state s (S), which starts at zero and takes every token
/// before it is read: s_i <- e^(dt_i a_i) * s_i + dt_i x_i b (Gu and Dao 2023).
///
/// Sequence n is the tokens offsets_N1[n] .. offsets_N1[n+1]. With `state_NIS` (contiguous) states
/// start there and their last ones are written back, for which there are no gradients. One
/// derivative. On the CPU plain loops, whose bits for a sequence do not depend on others or on
/// threads; elsewhere selective_scan_in_chunks.
Tensor selective_scan(const ScanInputs& inputs, const std::vector<int64_t>& offsets_N1,
                      const Tensor& state_NIS = {});

/// The same with libtorch's operators: inside chunks of `chunk` tokens by doubling distances.
Tensor selective_scan_in_chunks(const ScanInputs& inputs, const std::vector<int64_t>& offsets_N1,
                                const Tensor& state_NIS = {}, int64_t chunk = 64);

}  // namespace moe::ops
