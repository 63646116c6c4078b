// T tokens, E experts, G groups of S tokens, C chunks of tokens in a group.
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

int64_t tokens_a_group(const ScoreRows& rows) {
  return rows.G > 0 ? rows.T / rows.G : 0;
}

}  // namespace

void probability_sums(const ChoiceKernels& kernels, const ScoreRows& rows, double* sums_GE) {
  const int64_t E = rows.E, S = tokens_a_group(rows);
  const int64_t C = (S + kChunkTokens - 1) / kChunkTokens;
  const auto sum_chunk = [&](int64_t group, int64_t chunk, double* sums) {
    const int64_t begin = group * S + chunk * kChunkTokens;
    const int64_t end = std::min(begin + kChunkTokens, (group + 1) * S);
    for (int64_t t = begin; t < end; ++t) {
      if (rows.valid_T && !rows.valid_T[t]) continue;
      const float* const row = rows.scores_TE + t * E;
      const double total = rows.normalise ? std::max(kernels.sum(E, row), kLeastSum) : 1.0f;
      kernels.add_to(E, row, 1 / total, sums);
    }
  };
  std::vector<double> parts(static_cast<size_t>(C > 1 ? rows.G * C * E : 0), 0.0);
  std::fill(sums_GE, sums_GE + rows.G * E, 0.0);
  const int64_t chunk_cost = std::min(S, kChunkTokens) * (E + 16);
  at::parallel_for(0, rows.G * C, std::max<int64_t>(1, 16384 / (chunk_cost + 1)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i)
                       sum_chunk(i / C, i % C, C > 1 ? parts.data() + i * E : sums_GE + i * E);
                   });
  if (C == 1) return;
  for (int64_t i = 0; i < rows.G * C; ++i)
    for (int64_t e = 0; e < E; ++e) sums_GE[i / C * E + e] += parts[static_cast<size_t>(i * E + e)];
}

void probability_sums_backward(const ChoiceKernels& kernels, const ScoreRows& rows,
                               const double* dsums_GE, float* dscores_TE) {
  const int64_t E = rows.E, S = tokens_a_group(rows);
  const std::vector<float> slopes(dsums_GE, dsums_GE + rows.G * E);
  at::parallel_for(0, rows.T, rows_a_thread(E), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float *slope = slopes.data() + t / S * E, *row = rows.scores_TE + t * E;
      float* const out = dscores_TE + t * E;
      if (rows.valid_T && !rows.valid_T[t]) {
        std::fill(out, out + E, 0.0f);
        continue;
      }
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
