#pragma once
// E experts, P numbers of a row.

#include <string>

#include <moe/balance/term.h>

namespace moe::balance {

/// (E, P) each expert's row of the router's matrix of scores, for terms on the router's weights:
/// zeros on all ranks but the first, since every rank holds the same and sums are added over them.
/// Throws ConfigError, which ends in `remedy`, for a router without such a matrix. inputs.weights
/// is not null.
Tensor router_rows(const BalanceInputs& inputs, int64_t experts, const std::string& place,
                   const std::string& remedy);

/// The sums of a term on these rows: they, flattened in float64; none where the term is not handed
/// weights.
Tensor sums_of_router_rows(const BalanceInputs& inputs, int64_t experts, const std::string& place);

}  // namespace moe::balance
