// T tokens, E experts, G groups, C chunks of tokens.
#include <algorithm>
#include <vector>

#include <ATen/Parallel.h>

#include <moe/ops/cpu/product.h>
#include <moe/ops/cpu/scores.h>

namespace moe::ops::cpu {

namespace {

/// Tokens whose sum one thread makes: chunks, not threads, decide in which order numbers are added.
constexpr int64_t kChunkTokens = 256;
constexpr float kLeastSum = 1e-20f;

struct Chunk {
  int64_t group, begin, end;
};

/// Every group in chunks of its own; one without tokens has none.
std::vector<Chunk> chunks_of(const ScoreRows& rows) {
  std::vector<Chunk> chunks;
  for (int64_t g = 0; g < rows.G; ++g)
    for (int64_t t = rows.groups_G1[g]; t < rows.groups_G1[g + 1]; t += kChunkTokens)
      chunks.push_back({g, t, std::min(t + kChunkTokens, rows.groups_G1[g + 1])});
  return chunks;
}

}  // namespace

void probability_sums(const ChoiceKernels& kernels, const ScoreRows& rows, double* sums_GE) {
  const int64_t E = rows.E;
  const std::vector<Chunk> chunks = chunks_of(rows);
  const auto sum_chunk = [&](const Chunk& chunk, double* sums) {
    for (int64_t t = chunk.begin; t < chunk.end; ++t) {
      const float* const row = rows.scores_TE + t * E;
      const double total = rows.normalise ? std::max(kernels.sum(E, row), kLeastSum) : 1.0f;
      kernels.add_to(E, row, 1 / total, sums);
    }
  };
  const auto C = static_cast<int64_t>(chunks.size());
  std::vector<double> parts(static_cast<size_t>(C * E), 0.0);
  const int64_t chunk_cost = (C > 0 ? rows.T / C : 0) * (E + 16);
  at::parallel_for(0, C, std::max<int64_t>(1, 16384 / (chunk_cost + 1)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i)
                       sum_chunk(chunks[static_cast<size_t>(i)], parts.data() + i * E);
                   });
  std::fill(sums_GE, sums_GE + rows.G * E, 0.0);
  const double* part = parts.data();
  for (const Chunk& chunk : chunks)
    for (int64_t e = 0; e < E; ++e) sums_GE[chunk.group * E + e] += *part++;
}

void probability_sums_backward(const ChoiceKernels& kernels, const ScoreRows& rows,
                               const double* dsums_GE, float* dscores_TE) {
  const int64_t E = rows.E;
  const std::vector<float> slopes(dsums_GE, dsums_GE + rows.G * E);
  at::parallel_for(0, rows.T, rows_a_thread(E), [&](int64_t begin, int64_t end) {
    const int64_t* bound = std::upper_bound(rows.groups_G1, rows.groups_G1 + rows.G + 1, begin);
    for (int64_t t = begin; t < end; ++t) {
      while (*bound <= t) ++bound;  // the end of t's group
      const float* slope = slopes.data() + (bound - rows.groups_G1 - 1) * E;
      const float* row = rows.scores_TE + t * E;
      float* const out = dscores_TE + t * E;
      float factor = 1, mean = 0;
      if (rows.normalise) {
        // A sum below the least one is a constant, as which it has no gradient.
        const float total = kernels.sum(E, row);
        factor = 1 / std::max(total, kLeastSum);
        if (!(total < kLeastSum)) mean = kernels.dot(E, slope, row) * factor;
      }
      for (int64_t e = 0; e < E; ++e) out[e] = factor * (slope[e] - mean);
    }
  });
}

void log_sum_exp(const ChoiceKernels& kernels, int64_t T, int64_t E, const float* logits_TE,
                 float* lse_T) {
  at::parallel_for(0, T, rows_a_thread(E), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) lse_T[t] = kernels.log_sum_exp(E, logits_TE + t * E);
  });
}

void log_sum_exp_backward(const ChoiceKernels& kernels, int64_t T, int64_t E,
                          const float* logits_TE, const float* lse_T, const float* dlse_T,
                          float* dlogits_TE) {
  at::parallel_for(0, T, rows_a_thread(E), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      kernels.exponential(E, logits_TE + t * E, lse_T[t], dlse_T[t], dlogits_TE + t * E);
  });
}

}  // namespace moe::ops::cpu
