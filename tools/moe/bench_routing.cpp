// T tokens, D width, E experts, K choices, N pairs.
#include "tools/moe/bench_routing.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>

namespace moe::tools {

std::vector<std::string> routings() {
  return {"learned", "balanced", "zipf", "one"};
}

at::Tensor wanted_experts(const std::string& routing, int64_t tokens,
                          const routing::RouterShape& shape, int64_t seed) {
  check_one_of("bench", "--routing", routing, routings());
  const int64_t T = tokens, E = shape.num_experts, K = shape.top_k;
  if (routing == "one") {
    at::Tensor experts_TK = at::empty({T, K}, at::kLong);
    auto* expert = experts_TK.mutable_data_ptr<int64_t>();
    for (int64_t t = 0; t < T; ++t)
      for (int64_t k = 0; k < K; ++k) *expert++ = k == 0 ? 0 : 1 + (t * (K - 1) + k - 1) % (E - 1);
    return experts_TK;
  }
  const auto forced =
      routing::routers().at(routing == "zipf" ? "forced_skew" : "forced_balance").make(shape, {});
  LayerContext context;
  context.random.seed = static_cast<uint64_t>(seed);
  const at::NoGradGuard no_grad;
  return forced->forward(at::empty({T, shape.d_model}).zero_(), context).experts_N.view({T, K});
}

void steer_(at::Tensor& x_TD, const at::Tensor& experts_TK, const at::Tensor& router_weight_ED) {
  // A token's logits are |w| times a standard normal, so that 16 |w| stands far above them; other
  // experts' rows are nearly at right angles to its own.
  constexpr double kPush = 16;
  const at::NoGradGuard no_grad;
  const at::Tensor length_E1 = at::linalg_vector_norm(router_weight_ED, 2, {1}, true);
  const at::Tensor direction_ED = router_weight_ED / length_E1.clamp_min(1e-20);
  for (int64_t k = 0; k < experts_TK.size(1); ++k)
    x_TD.add_(direction_ED.index_select(0, experts_TK.select(1, k)), kPush);
}

Spread spread_of(const Routing& routing) {
  const at::Tensor experts_N = routing.experts_N.to(at::kCPU).contiguous();
  std::vector<int64_t> count_E(static_cast<size_t>(routing.num_experts), 0);
  const auto* expert = experts_N.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < experts_N.numel(); ++n)
    if (expert[n] < routing.num_experts) ++count_E[static_cast<size_t>(expert[n])];
  const int64_t most = *std::max_element(count_E.begin(), count_E.end());
  return {
      static_cast<int64_t>(count_E.size()) - std::count(count_E.begin(), count_E.end(), int64_t{0}),
      static_cast<double>(most) / static_cast<double>(std::max<int64_t>(1, experts_N.numel()))};
}

}  // namespace moe::tools
