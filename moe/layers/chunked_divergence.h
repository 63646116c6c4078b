#pragma once
// T tokens, D width.

#include <moe/layers/chunked_loss.h>

namespace moe::layers {

/// () float64: the sum over the rows that have a target of
///
///   (KL(p || q) + KL(q || p)) / 2 = 1/2 sum_v (p_v - q_v) (ln p_v - ln q_v)
///
/// in nats, with p = softmax(head(first_TD)) and q = softmax(head(second_TD)): how far two passes
/// over the same tokens are from agreeing. In chunks and with gradients as cross_entropy.
Tensor symmetric_divergence(const Head& head, const Tensor& first_TD, const Tensor& second_TD,
                            const Tensor& target_T, const CrossEntropyOptions& options = {});

}  // namespace moe::layers
