#pragma once
// Rows that travel in chunks. W ranks, C chunks, M rows.

#include <vector>

#include <moe/flow/plan.h>

namespace moe::dispatch {

/// How many rows of each rank and chunk: block (w, c) lies at w C + c.
using Blocks = std::vector<int64_t>;

/// Blocks of rows to and from each rank.
class BlockSizes {
 public:
  /// (W, C) counts of rows sent, then (C, W) counts of rows received.
  BlockSizes(const std::vector<int64_t>& counts, int64_t ranks, int64_t chunks);

  const Blocks& received_blocks() const { return receive_; }
  /// By rank: of chunk c, and of all.
  std::vector<int64_t> sent(int64_t c) const { return of_chunk(send_, c); }
  std::vector<int64_t> received(int64_t c) const { return of_chunk(receive_, c); }
  std::vector<int64_t> sent() const { return of_all(send_); }
  std::vector<int64_t> received() const { return of_all(receive_); }

 private:
  std::vector<int64_t> of_chunk(const Blocks& blocks, int64_t c) const;
  std::vector<int64_t> of_all(const Blocks& blocks) const;

  int64_t ranks_, chunks_;
  Blocks send_, receive_;
};

/// The blocks of what a rank sends.
Blocks blocks_of(const std::vector<ExchangedChunk>& chunks);

/// Rows in blocks, of dimension 0, to the rows of each chunk, by rank. A view where there is one
/// chunk. Differentiable.
std::vector<Tensor> chunks_of(const Tensor& rows, const Blocks& blocks, int64_t chunks);
/// The inverse.
Tensor in_order(const std::vector<Tensor>& rows_C, const Blocks& blocks);

}  // namespace moe::dispatch
