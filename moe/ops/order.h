#pragma once
// N ids, E bins, T tokens or groups, K choices.

#include <utility>

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

/// A stable counting sort.
struct Order {
  /// (N,) int64: the elements in order of their bin; elements outside [0, E) come last.
  Tensor order_N;
  /// (N,) int64: the place of each element in `order_N`, -1 for those outside.
  Tensor position_N;
  /// (E+1,) int64: where each bin begins; offsets_E[E] is the number of elements inside.
  Tensor offsets_E;
};

/// Sorts int64 ids_N by value, stably. No device synchronisation.
Order counting_sort(const Tensor& ids_N, int64_t bins);

/// The same with the group of each element: (N,) int64 the groups in order of the elements' bins.
/// Group t has the elements offsets_T1[t] .. offsets_T1[t+1].
std::pair<Order, Tensor> counting_sort_groups(const Tensor& ids_N, const Tensor& offsets_T1,
                                              int64_t bins);

/// (E,) int64: how many of int64 ids_N are each number in [0, bins); others are not counted.
Tensor count_ids(const Tensor& ids_N, int64_t bins);

/// The K largest of each row and their columns (int64), largest first, ties to the lowest column;
/// differentiable in the values. NaN ranks below everything. scores_TE floating; K in [1, E].
std::pair<Tensor, Tensor> topk(const Tensor& scores_TE, int64_t k);

}  // namespace moe::ops
