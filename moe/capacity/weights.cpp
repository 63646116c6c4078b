// T tokens, N pairs, M of them moved, E experts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>

#include <moe/capacity/weights.h>
#include <moe/ops/rows.h>

namespace moe::capacity {

namespace {

/// a / b, and `otherwise` where b is 0, which then gets no gradient. NaN stays NaN.
Tensor divided(const Tensor& a, const Tensor& b, double otherwise) {
  const Tensor zero = b.eq(0);
  return at::where(zero, at::full_like(a, otherwise), a / at::where(zero, at::ones_like(b), b));
}

}  // namespace

Tensor moved_weights(const Routing& routing, const Tensor& got_N, const Tensor& scores_TE) {
  const int64_t E = routing.num_experts;
  const Tensor pair_M = got_N.ne(routing.experts_N).logical_and(got_N.lt(E)).nonzero().squeeze(1);
  const Tensor row_M = routing.tokens_N().index_select(0, pair_M) * E;
  const Tensor flat = scores_TE.reshape({-1});
  const auto score_M = [&](const Tensor& experts_N) {
    return flat.index_select(0, row_M + experts_N.index_select(0, pair_M));
  };
  const Tensor ratio_M = divided(score_M(got_N), score_M(routing.experts_N), 0);
  return routing.weights_N.index_copy(
      0, pair_M,
      routing.weights_N.index_select(0, pair_M) * ratio_M.to(routing.weights_N.scalar_type()));
}

Tensor weights_of_sum(const Routing& routing, const Tensor& before_N) {
  const Tensor pairs_N = at::arange(routing.pairs(), routing.experts_N.options());
  const auto sum_T1 = [&](const Tensor& weights_N) {
    return ops::combine_rows(weights_N.unsqueeze(1), {pairs_N, {}, routing.offsets});
  };
  const Tensor scale_T1 = divided(sum_T1(before_N), sum_T1(routing.weights_N), 1);
  return routing.weights_N * ops::gather_rows(scale_T1, routing.tokens_N()).squeeze(1);
}

}  // namespace moe::capacity
