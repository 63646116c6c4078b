#pragma once
// T tokens, N pairs, E experts, L experts on this rank, D width, S source rows, R rows for the
// experts of this rank.

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe {

using at::Tensor;

/// The rows for some experts of each rank, which travel together.
struct ExchangedChunk {
  /// Rows to and from each rank.
  std::vector<int64_t> send, receive;
  /// (R,) int64: position in the receive buffer of each expert-ordered row, and the inverse.
  Tensor expert_order_R, arrival_order_R;
  /// (L+1,) int64: where the chunk's rows of each expert of this rank begin; experts of other
  /// chunks have none.
  Tensor offsets_L;
  /// (R,) int64: global token number of each row.
  Tensor token_R;
};

/// How rows travel between ranks, chunk by chunk; made by the all-to-all dispatcher. Every expert
/// is in one chunk, with all of its rows.
struct Exchange {
  std::vector<ExchangedChunk> chunks;
};

/// Token order <-> expert order. The dispatcher sorts; nobody else does.
struct DispatchPlan {
  /// (N,) int64: the pairs sorted by expert, in token order within an expert; dropped pairs come
  /// last.
  Tensor pair_N;
  /// (N,) int64: the token of each sorted pair.
  Tensor token_N;
  /// (N,) int64: position among the sorted pairs of each pair (token-major), -1 when dropped.
  Tensor position_N;
  /// (E+1,) int64: where the pairs of each expert begin among the sorted ones; of each slot of an
  /// expert on a rank where ranks share the experts (dispatch/expert_slots.h).
  Tensor offsets_E;
  /// (L+1,) int64: where the rows of each expert of this rank begin.
  Tensor offsets_L;
  /// (R,) int64: global token number of each row (keys randomness inside experts).
  Tensor token_R;
  /// Null when all experts are on this rank.
  std::shared_ptr<const Exchange> exchange;
};

/// The input of experts: row r is source_SD[index_R[r]]; nothing is copied when the experts are
/// local. Rows of expert e are offsets_L[e] .. offsets_L[e+1]; rows behind the last offset belong
/// to no expert and are never read.
struct ExpertRows {
  Tensor source_SD;
  /// (R,) int64; undefined means the identity.
  Tensor index_R;
  Tensor offsets_L;
  /// (R,) int64 global token numbers.
  Tensor token_R;

  int64_t rows() const { return index_R.defined() ? index_R.size(0) : source_SD.size(0); }
};

}  // namespace moe
