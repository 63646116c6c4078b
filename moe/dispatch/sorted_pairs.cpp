// T tokens, N pairs, M of them kept, E experts, D width, O output width.

#include <ATen/TensorOperators.h>

#include <moe/base/error.h>
#include <moe/dispatch/sorted_pairs.h>
#include <moe/ops/order.h>
#include <moe/ops/rows.h>

namespace moe::dispatch {

DispatchPlan sort_pairs(const Routing& routing, int64_t num_experts, std::string_view place) {
  check(routing.num_experts == num_experts, place, "expected a routing over ", num_experts,
        " experts, got one over ", routing.num_experts,
        ". Make router and dispatcher for the same number of experts.");
  const auto [order, token_N] =
      ops::counting_sort_groups(routing.experts_N, routing.offsets, num_experts);
  DispatchPlan plan;
  plan.pair_N = order.order_N;
  plan.token_N = token_N;
  plan.position_N = order.position_N;
  plan.offsets_E = order.offsets_E;
  return plan;
}

void check_input(const Tensor& x_TD, const Routing& routing, std::string_view place) {
  check(x_TD.dim() == 2 && x_TD.size(0) == routing.tokens(), place,
        "expected input of shape (T=", routing.tokens(), ", D), got ", x_TD.sizes(),
        ". Flatten batch and sequence, and route the same tokens.");
}

Tensor gather_pairs(const Tensor& x_TD, const Routing& routing, const DispatchPlan& plan,
                    int64_t kept) {
  const Tensor rows_MD = ops::gather_rows(x_TD, plan.token_N.slice(0, 0, kept));
  if (!routing.weight_on_input) return rows_MD;
  const Tensor weights_M = routing.weights_N.index_select(0, plan.pair_N.slice(0, 0, kept));
  return (rows_MD * weights_M.unsqueeze(1)).to(x_TD.scalar_type());
}

ops::Combination combination_of(const Routing& routing, const DispatchPlan& plan) {
  return {plan.position_N, routing.weight_on_input ? Tensor() : routing.weights_N, routing.offsets};
}

}  // namespace moe::dispatch
