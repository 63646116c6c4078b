#pragma once
// Rows with random routing, for tests of what is counted in them. E experts, K choices.

#include <string>
#include <vector>

#include <moe/analyze/routed_rows.h>
#include <moe/base/random.h>

namespace moe::test {

struct RandomRows {
  int64_t rows = 5, sequence = 12, vocabulary = 7;
  /// Experts of each MoE layer.
  std::vector<int64_t> experts = {4, 6};
  /// Tokens have 0 .. most_choices pairs, some of them dropped.
  int64_t most_choices = 3;
  int64_t domain = 0;
  bool scores = true, logits = false;
};

inline analyze::RoutedRows random_rows(uint64_t seed, const RandomRows& options = {}) {
  const RandomStream stream({.seed = seed}, Purpose::kTest);
  uint64_t draws = 0;
  const auto below = [&](int64_t bound) {
    return static_cast<int64_t>(stream.below(draws++, static_cast<uint64_t>(bound)));
  };
  analyze::RoutedRows out{.domain = options.domain, .sequence = options.sequence};
  for (int64_t u = 0; u < options.rows; ++u) {
    const int64_t length = 1 + below(options.sequence);
    for (int64_t s = 0; s < length; ++s) {
      out.token_T.push_back(static_cast<int32_t>(below(options.vocabulary)));
      out.position_T.push_back(static_cast<int32_t>(s));
      out.counted_T.push_back(below(5) > 0);
    }
    out.row_begin_U.push_back(out.tokens());
  }
  for (size_t i = 0; i < options.experts.size(); ++i) {
    const int64_t E = options.experts[i];
    analyze::LayerPairs pairs{
        .layer = static_cast<int64_t>(2 * i + 1), .experts = E, .offset_T = {0}};
    for (int64_t t = 0; t < out.tokens(); ++t) {
      const int64_t first = below(E);
      const int64_t choices = below(options.most_choices + 1);
      for (int64_t k = 0; k < choices; ++k) {
        const bool dropped = below(6) == 0;
        pairs.expert_N.push_back(dropped ? -1 : static_cast<int32_t>((first + k) % E));
        pairs.weight_N.push_back(dropped ? 0 : static_cast<float>(1 + below(9)));
      }
      pairs.offset_T.push_back(static_cast<int64_t>(pairs.expert_N.size()));
      if (options.scores) pairs.score_entropy_T.push_back(static_cast<float>(below(100)) / 100);
      if (options.logits)
        for (int64_t e = 0; e < E; ++e)
          pairs.logits_TE.push_back(static_cast<float>(below(100)) - 50);
    }
    out.layers.push_back(std::move(pairs));
  }
  return out;
}

}  // namespace moe::test
