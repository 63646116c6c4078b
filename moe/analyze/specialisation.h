#pragma once
// D domains, E experts. Plain numbers, ready to be written as JSON.

#include <cstdint>
#include <string>
#include <vector>

#include <moe/analyze/counts.h>

namespace moe::analyze {

struct PermutationOptions {
  /// How often the labels are permuted, in [1, 1000000].
  int64_t permutations = 1000;
  uint64_t seed = 1;
};

/// With fewer no result can be rarer than one in a hundred.
inline constexpr int64_t kFewestPermutations = 99;

/// How one MoE layer divides the domains among its experts.
struct LayerSpecialisation {
  int64_t layer = 0;
  std::vector<std::vector<int64_t>> counts_DE;
  /// Share of all pairs per expert; adds up to 1.
  std::vector<double> load_E;
  /// Entropy of the load over log E: 1 balanced, 0 one expert takes all; NaN without pairs.
  double load_entropy = 0;
  /// I(expert; domain) of a random pair, in nats.
  double mutual_information = 0;
  /// The same over H(domain): see normalised_information.
  double normalised = 0;
  /// The smallest value that at least 99 % of the permutations do not exceed, of `normalised`; NaN
  /// for fewer than kFewestPermutations.
  double percentile_99 = 0;
  /// (1 + permutations that reach `normalised`) / (1 + permutations).
  double p_value = 1;
  /// normalised > percentile_99; false where that is not known.
  bool above = false;
};

struct Specialisation {
  std::vector<std::string> domains;
  int64_t rows = 0;
  int64_t permutations = 0;
  std::vector<LayerSpecialisation> layers;
};

/// Mutual information of expert and domain in each layer, with a permutation test of independence:
/// the domains are dealt anew to the rows, whose counts stay together, since tokens of one row are
/// dependent. Every domain keeps its number of rows. All layers see the same permutations, which
/// are fixed by the seed on every machine.
///
/// `domains` chooses two or more of those counted; empty: all, and if that is a single one there is
/// load to see but nothing to tell apart (normalised 0, p 1). Throws ConfigError for an unknown or
/// repeated domain, for a choice of one, and for permutations out of range.
Specialisation specialisation(const RoutingCounts& counts,
                              const std::vector<std::string>& domains = {},
                              const PermutationOptions& options = {});

}  // namespace moe::analyze
