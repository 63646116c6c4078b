#pragma once
// T tokens of several sequences, H query heads, G key-value heads, P width of queries and keys, V
// width of values.

#include <moe/flow/sequences.h>
#include <moe/layers/attend.h>
#include <moe/layers/key_value_state.h>

namespace moe::layers {

/// Attention inside each sequence alone: (T, H, P), (T, G, P), (T, G, V) -> (T, H, V). Equal
/// lengths are one call over views; others are brought into rows of about one length. `first_token`
/// is the global number of token 0 (dropout).
Tensor attend_sequences(const Tensor& q_THP, const Tensor& k_TGP, const Tensor& v_TGV,
                        const Runs& sequences, int64_t first_token, const AttendOptions& options);

/// The same behind what `state` (a KeyValueState) holds of each sequence, which is extended. What a
/// sequence gets in float32 on the CPU does not depend on the others, to the bit.
Tensor attend_with_state(const Tensor& q_THP, const Tensor& k_TGP, const Tensor& v_TGV,
                         const Sequences& sequences, const AttendOptions& options,
                         LayerState& state);

}  // namespace moe::layers
