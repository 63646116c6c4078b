#pragma once
// What every dispatcher does on its own rank: sort pairs by expert, gather their rows, combine what
// comes back. T tokens, N pairs, M of them kept, E experts, D width, O output width.

#include <string_view>

#include <moe/flow/plan.h>
#include <moe/flow/routing.h>
#include <moe/ops/rows.h>

namespace moe::dispatch {

/// The part of a plan that needs no communication: pair_N, token_N, position_N and offsets_E.
/// Throws moe::Error (naming `place`) when the routing is over another number of experts.
DispatchPlan sort_pairs(const Routing& routing, int64_t num_experts, std::string_view place);

/// Throws moe::Error unless x_TD is a matrix with one row for each token of the routing.
void check_input(const Tensor& x_TD, const Routing& routing, std::string_view place);

/// The rows of the first M sorted pairs, times their weights when these belong on the input; (M, D)
/// in x's dtype.
Tensor gather_pairs(const Tensor& x_TD, const Routing& routing, const DispatchPlan& plan,
                    int64_t kept);

/// y_t = sum over t's pairs, in order of choice, of weight * out row, of rows in the order of the
/// sorted pairs; the weight is 1 here when it was on the input.
ops::Combination combination_of(const Routing& routing, const DispatchPlan& plan);

}  // namespace moe::dispatch
