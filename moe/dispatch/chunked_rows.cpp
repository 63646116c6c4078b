// W ranks, C chunks, M rows.
#include <ATen/ops/cat.h>

#include <moe/dispatch/chunked_rows.h>

namespace moe::dispatch {

BlockSizes::BlockSizes(const std::vector<int64_t>& counts, int64_t ranks, int64_t chunks)
    : ranks_(ranks), chunks_(chunks), send_(counts.begin(), counts.begin() + ranks * chunks) {
  for (int64_t w = 0; w < ranks; ++w)
    for (int64_t c = 0; c < chunks; ++c)
      receive_.push_back(counts[static_cast<size_t>(ranks * chunks + c * ranks + w)]);
}

std::vector<int64_t> BlockSizes::of_chunk(const Blocks& blocks, int64_t c) const {
  std::vector<int64_t> out;
  for (int64_t w = 0; w < ranks_; ++w) out.push_back(blocks[static_cast<size_t>(w * chunks_ + c)]);
  return out;
}

std::vector<int64_t> BlockSizes::of_all(const Blocks& blocks) const {
  std::vector<int64_t> out(static_cast<size_t>(ranks_));
  for (size_t i = 0; i < blocks.size(); ++i) out[i / static_cast<size_t>(chunks_)] += blocks[i];
  return out;
}

Blocks blocks_of(const std::vector<ExchangedChunk>& chunks) {
  Blocks out;
  for (size_t w = 0; w < chunks.front().send.size(); ++w)
    for (const auto& chunk : chunks) out.push_back(chunk.send[w]);
  return out;
}

std::vector<Tensor> chunks_of(const Tensor& rows, const Blocks& blocks, int64_t chunks) {
  if (chunks == 1) return {rows};
  // One step of the graph for all blocks: narrowing one by one would fill a gradient of all rows
  // for each.
  const auto parts = rows.split_with_sizes(blocks);
  const auto C = static_cast<size_t>(chunks);
  std::vector<Tensor> out;
  for (size_t c = 0; c < C; ++c) {
    std::vector<Tensor> of_ranks;
    for (size_t i = c; i < parts.size(); i += C) of_ranks.push_back(parts[i]);
    out.push_back(at::cat(of_ranks));
  }
  return out;
}

Tensor in_order(const std::vector<Tensor>& rows_C, const Blocks& blocks) {
  const size_t C = rows_C.size();
  if (C == 1) return rows_C.front();
  std::vector<Tensor> parts(blocks.size());
  for (size_t c = 0; c < C; ++c) {
    std::vector<int64_t> sizes;
    for (size_t i = c; i < blocks.size(); i += C) sizes.push_back(blocks[i]);
    const auto of_ranks = rows_C[c].split_with_sizes(sizes);
    for (size_t w = 0; w < of_ranks.size(); ++w) parts[w * C + c] = of_ranks[w];
  }
  return at::cat(parts);
}

}  // namespace moe::dispatch
