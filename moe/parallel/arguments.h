#pragma once
// What every backend demands of the arguments of a collective, in one wording. R rows, W ranks.
//
// `place` names backend and rank ("parallel/threads, rank 2"). Every function throws moe::Error.

#include <cstdint>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::parallel {

/// Values of all_reduce and broadcast: defined and contiguous.
void check_values(std::string_view place, const at::Tensor& values);
/// Rows of all_to_all_v and all_gather_v: as values, with at least one dimension.
void check_rows(std::string_view place, const at::Tensor& rows);
/// One count of at least 0 for each of `ranks` ranks. `what` names the argument.
void check_counts(std::string_view place, std::string_view what, const std::vector<int64_t>& counts,
                  int64_t ranks);
/// The counts of rows to send add up to the rows given.
void check_sum(std::string_view place, const std::vector<int64_t>& send, int64_t rows);
/// A rank of the group.
void check_root(std::string_view place, int64_t root, int64_t ranks);

}  // namespace moe::parallel
