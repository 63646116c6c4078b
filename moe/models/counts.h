#pragma once

#include <cstdint>

#include <moe/models/model.h>

namespace moe::models {

/// What a model costs.
struct ModelCounts {
  int64_t total = 0;
  /// Parameters that work for one token: all but the experts that it does not choose.
  int64_t active = 0;
  /// Without the table that ids are looked up in; the output matrix counts also where it is that
  /// table.
  int64_t active_without_input_embedding = 0;
  int64_t active_without_embeddings = 0;
  /// Forward pass of one token: 2 active_without_input_embedding, and what the mixers add over
  /// `context_length` keys.
  int64_t flops_per_token = 0;
  /// Numbers that generation keeps of one sequence at the full context; 0 where models see a
  /// sequence at once.
  int64_t state_numbers = 0;
};

/// Walks the parameters and blocks of `model`, which needs no memory.
ModelCounts count(const Model& model);

/// Counts of the model that `spec` describes, made unfilled for it.
inline ModelCounts count(const ModelSpec& spec) {
  return count(*make_model(spec));
}

}  // namespace moe::models
