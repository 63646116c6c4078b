#pragma once

#include <cstdint>

#include <moe/models/options.h>

namespace moe::models {

/// What a model costs, from its options alone: nothing of its size is filled or kept.
struct ModelCounts {
  int64_t total = 0;
  /// Parameters one token meets: all but the experts it does not choose.
  int64_t active = 0;
  int64_t active_without_input_embedding = 0;
  int64_t active_without_embeddings = 0;
  /// Forward pass of one token: 2 active_without_input_embedding, and attention over
  /// `context_length` keys.
  int64_t flops_per_token = 0;
  /// Bytes of one sequence's keys and values in float32 at the full context.
  int64_t kv_cache_bytes = 0;
};

/// Counts of a decoder. Throws ConfigError for a kind of router or expert that is not registered.
ModelCounts count(const ModelOptions& options);

}  // namespace moe::models
