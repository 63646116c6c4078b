#pragma once
// T tokens, D width, E experts, K choices.
// Tokens that a learned router sends where a bench wants them.

#include <ATen/core/Tensor.h>

#include <moe/layers/moe_layer.h>

#include "tools/moe/common.h"

namespace moe::tools {

/// What `--routing` may be. learned: as the router's random start has it. balanced: dealt round
/// robin. zipf: expert e drawn with probability proportional to 1 / (e + 1). one: every token's
/// first choice is expert 0, the others are dealt round robin.
std::vector<std::string> routings();

/// (T, K) experts: what the forced routers draw. Throws ConfigError for another name.
at::Tensor wanted_experts(const std::string& routing, int64_t tokens,
                          const routing::RouterShape& shape, int64_t seed);

/// Moves the tokens towards the router's rows of their wanted experts until the router's own
/// product, softmax and top-k choose those: the path of a learned router is timed, not that of a
/// test router. x_TD float32, in place.
void steer_(at::Tensor& x_TD, const at::Tensor& experts_TK, const at::Tensor& router_weight_ED);

/// How a routing spreads its pairs.
struct Spread {
  int64_t experts_used = 0;
  /// Share of all pairs that the busiest expert takes.
  double busiest = 0;
};
Spread spread_of(const Routing& routing);

}  // namespace moe::tools
