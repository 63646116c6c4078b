#pragma once
// T tokens, D width.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include <moe/flow/context.h>
#include <moe/ops/random_fill.h>

namespace moe::layers {

/// x_TD with a share p of its elements zeroed and the rest scaled up, in training; keyed by global
/// token number. `part` tells the dropouts of one layer apart.
inline Tensor dropout(const Tensor& x_TD, double p, const LayerContext& context, uint32_t part) {
  if (!context.training || p == 0) return x_TD;
  const int64_t first = context.tokens.first_token;
  const Tensor token_T = at::arange(first, first + x_TD.size(0), x_TD.options().dtype(at::kLong));
  const RandomStream stream(context.random, Purpose::kDropout, part);
  return x_TD * ops::dropout_mask(token_T, x_TD.size(1), p, stream, x_TD.scalar_type());
}

}  // namespace moe::layers
