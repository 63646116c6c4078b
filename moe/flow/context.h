#pragma once
// What a layer is told beside its input. T tokens, E experts.

#include <algorithm>

#include <ATen/core/Tensor.h>

#include <moe/base/error.h>
#include <moe/base/random.h>
#include <moe/flow/documents.h>

namespace moe {

using at::Tensor;

/// State that comes in as arguments, so that forward passes stay free of side effects.
struct RoutingContext {
  bool training = false;
  /// Seed, step and layer of every random number drawn in the layer.
  RandomKey random = {};
  /// Type the products run in (bfloat16 for mixed precision); Undefined: that of the input. Routers
  /// keep float32.
  at::ScalarType compute = at::ScalarType::Undefined;
  /// Global number of token 0 of this call, over micro-batches and ranks.
  int64_t first_token = 0;
  /// Tokens per sequence (the groups of sequence-wise losses and of expert choice); 0: all T are
  /// one sequence.
  int64_t sequence_length = 0;
  /// (T,) bool, false for padding; undefined: all real.
  Tensor valid_T = {};
  /// (T,) int64 vocabulary ids, for routers that look at them; may be undefined.
  Tensor token_ids_T = {};
  /// For attention alone: documents that share a row.
  Documents documents = {};
  /// (T,) int64 in [0, num_domains): where each token's text comes from, for terms on domains; -1:
  /// not known. May be undefined. `num_domains` is the same on every rank and in every call.
  Tensor domains_T = {};
  int64_t num_domains = 0;
  /// The model must not look ahead: routers that couple tokens over time refuse unless told
  /// otherwise.
  bool causal = false;
  /// (E,) pairs per expert in the earlier micro-batches of this optimizer step; undefined in the
  /// first.
  Tensor counts_so_far_E = {};

  at::ScalarType compute_type(const Tensor& x) const {
    return compute == at::ScalarType::Undefined ? x.scalar_type() : compute;
  }

  /// Tokens per sequence among `tokens`, at least 1. Throws when they are no whole number of
  /// sequences.
  int64_t tokens_per_sequence(int64_t tokens) const {
    const int64_t length = sequence_length > 0 ? sequence_length : std::max<int64_t>(tokens, 1);
    check(tokens % length == 0, "flow/context",
          "expected whole sequences of sequence_length=", length, " tokens, got ", tokens,
          " tokens. Pad the last sequence and mark the padding in valid_T.");
    return length;
  }
};

/// What moves the state of routers after an optimizer step: counts over all ranks and
/// micro-batches.
struct StepStatistics {
  /// (E,) int64 pairs that routers gave each expert, before capacity.
  Tensor counts_E;
  int64_t step = 0;
};

}  // namespace moe
