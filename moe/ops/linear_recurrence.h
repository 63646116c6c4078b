#pragma once
// Memories of keys and values that go through a sequence token by token. T tokens, N sequences, H
// heads, G groups of neighbouring heads, K key width, V value width.

#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// What each token brings, float32 or float64. Head h takes the query and key of group h G / H.
struct RecurrenceInputs {
  Tensor q_TGK, k_TGK, v_THV;
  /// (T, H, 1) or (T, H, K): ln of what a head's memory, or each of its rows, is multiplied by.
  Tensor log_decay_THK;
  /// (T, H) rates of the delta rule; undefined: values are added as they come.
  Tensor rate_TH = {};
};

/// (T, H, V): o = S^T q of each head's memory S (K, V), which starts at zero and takes every token
/// before it is read:
///
///   S <- e^log_decay S;  S <- S + k (rate (v - S^T k))^T     (delta rule: Schlag et al. 2021)
///   S <- e^log_decay S;  S <- S + k v^T                      (without rates)
///
/// Sequence n is the tokens offsets_N1[n] .. offsets_N1[n+1]. With `memory_NHKV` (contiguous)
/// memories start there and their last ones are written back, for which there are no gradients.
/// One derivative. On the CPU plain loops, whose bits for a sequence do not depend on others or on
/// threads; elsewhere linear_recurrence_in_chunks.
Tensor linear_recurrence(const RecurrenceInputs& inputs, const std::vector<int64_t>& offsets_N1,
                         const Tensor& memory_NHKV = {});

/// The same by products of matrices over chunks of `chunk` tokens (Yang et al. 2024), with
/// libtorch's operators; 0: a length that suits.
Tensor linear_recurrence_in_chunks(const RecurrenceInputs& inputs,
                                   const std::vector<int64_t>& offsets_N1,
                                   const Tensor& memory_NHKV = {}, int64_t chunk = 0);

}  // namespace moe::ops
