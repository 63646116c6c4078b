#pragma once
// E experts, U rows.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <moe/analyze/routed_rows.h>

namespace moe::analyze {

/// Which of a token's choices count.
enum class Choices {
  kAll,    // every pair once: what experts compute
  kFirst,  // the first pair alone: what the token wants most
};

struct CountOptions {
  int64_t batch = 32;
  /// Batches of each domain; -1: all of it.
  int64_t max_batches = 20;
  Choices choices = Choices::kAll;
};

/// What one MoE layer did.
struct LayerCounts {
  int64_t layer = 0;
  int64_t experts = 0;
  /// (U, E) row-major: pairs of row u that went to expert e; dropped ones not counted.
  std::vector<int64_t> counts_UE = {};
};

/// Routing counts of rows of several domains.
struct RoutingCounts {
  std::vector<std::string> domains = {};
  /// Index into `domains` of each row.
  std::vector<int64_t> domain_U = {};
  /// Positions that counted, over all rows.
  int64_t tokens = 0;
  std::vector<LayerCounts> layers = {};

  int64_t rows() const { return static_cast<int64_t>(domain_U.size()); }
};

/// Adds the pairs of tokens that count, row by row, behind those of earlier rows. Throws moe::Error
/// for rows of another model, and when the counts would take more than 8 GiB.
void add_rows(RoutingCounts& counts, const RoutedRows& rows, Choices choices = Choices::kAll);

/// The counts of all rows that route_rows hands on. Only positions with a target count, so padding
/// does not, nor do prompts of prompt-completion data. Throws as route_rows does.
RoutingCounts count_routing(models::Model& model, const data::Corpus& corpus,
                            const CountOptions& options = {});

/// The pairs of token t of `pairs` that count: [begin, end) in expert_N.
inline std::pair<int64_t, int64_t> counted_pairs(const LayerPairs& pairs, size_t t,
                                                 Choices choices) {
  const int64_t begin = pairs.offset_T[t], end = pairs.offset_T[t + 1];
  return {begin, choices == Choices::kFirst && end > begin ? begin + 1 : end};
}

}  // namespace moe::analyze
