#pragma once
// What every backend demands of the arguments of a collective, in one wording. R rows, W ranks.
//
// `place` names backend and rank ("parallel/threads, rank 2"). Every function throws moe::Error.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::parallel {

/// Values of all_reduce and broadcast: defined and contiguous.
void check_values(std::string_view place, const at::Tensor& values);
/// Rows of the other collectives: as values, with at least one dimension.
void check_rows(std::string_view place, const at::Tensor& rows);
/// One count of at least 0 for each of `ranks` ranks. `what` names the argument.
void check_counts(std::string_view place, std::string_view what, const std::vector<int64_t>& counts,
                  int64_t ranks);
/// The counts of rows that are handed out add up to the rows given.
void check_sum(std::string_view place, std::string_view what, const std::vector<int64_t>& counts,
               int64_t rows);
/// A rank of the group.
void check_root(std::string_view place, int64_t root, int64_t ranks);
/// Values that can be added, where they are.
void check_adds(std::string_view place, at::ScalarType dtype, bool sum);

/// The kind of tensor a rank brings.
struct TensorKind {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> sizes = {};

  static TensorKind of(const at::Tensor& tensor);
};

/// What rank 0 brings to `call` and another rank `here`: one dtype, and the same sizes from
/// dimension `first` on.
void check_alike(std::string_view place, std::string_view call, const TensorKind& model,
                 const TensorKind& here, size_t first);
/// The rows that this rank expects of rank `from`, and those that come.
void check_received(std::string_view place, int64_t expected, int64_t from, int64_t sent);
void check_gathered(std::string_view place, int64_t expected, int64_t from, int64_t rows);
/// The root that rank 0 names, and the one named here.
void check_same_root(std::string_view place, int64_t model, int64_t here);
/// The counts of rows for each rank that rank 0 gives, and those given here.
void check_same_counts(std::string_view place, const std::vector<int64_t>& model,
                       const std::vector<int64_t>& here);
/// Throws: the ranks called what `calls` lists, by rank.
[[noreturn]] void fail_calls(std::string_view place, const std::vector<std::string>& calls);

}  // namespace moe::parallel
