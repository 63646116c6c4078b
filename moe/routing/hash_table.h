#pragma once
// T tokens, V vocabulary, E experts, K choices per token.

#include <string>
#include <vector>

#include <moe/routing/router.h>

namespace moe::routing {

/// (T, K) int64: for each id, K different experts, each drawn uniformly from those that the tables
/// before it left. Table j depends on the key and E only, so that a router with more choices keeps
/// its first ones. Any int64 is an id: nothing is stored. Computed on the CPU.
Tensor random_experts(const Tensor& ids_T, const RandomKey& key, int64_t num_experts,
                      int64_t choices);

/// (V, K) int64 from how often each id occurs: ids in falling order of their counts (ties: lowest
/// id) take the K experts with the least load so far (ties: lowest expert), table 0 the one with
/// the least. The load of an expert is the sum over its ids of count + 1, so that ids which were
/// never seen are spread as well. Throws ConfigError for a negative count.
Tensor balanced_table(const std::vector<int64_t>& counts, int64_t num_experts, int64_t choices);

/// The 1-D int64 tensor "counts" of a safetensors file. Throws moe::Error when there is none.
std::vector<int64_t> read_counts(const std::string& path);

}  // namespace moe::routing
