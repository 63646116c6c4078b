// E experts, P numbers of a row.
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/balance/router_rows.h>

namespace moe::balance {

Tensor router_rows(const BalanceInputs& inputs, int64_t experts, const std::string& place,
                   const std::string& remedy) {
  for (const auto& [name, weight, info] : inputs.weights->router)
    if (info.role == Role::kScores && info.per_expert)
      return inputs.first_rank ? weight.flatten(1) : at::zeros_like(weight.flatten(1));
  fail<ConfigError>(place, "expected a router with a matrix of scores of ", experts,
                    " rows, one an expert, got none. ", remedy);
}

Tensor sums_of_router_rows(const BalanceInputs& inputs, int64_t experts, const std::string& place) {
  if (!inputs.weights) return at::zeros({0}, inputs.routing.experts_N.options().dtype(at::kDouble));
  return router_rows(inputs, experts, place, "Leave the term out, or use another router.")
      .flatten()
      .to(at::kDouble);
}

}  // namespace moe::balance
