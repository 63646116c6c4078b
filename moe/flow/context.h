#pragma once
// What a layer is told beside its input. T tokens, M tokens of a memory, D width, E experts.

#include <limits>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include <moe/base/random.h>
#include <moe/flow/sequences.h>

namespace moe {

using at::Tensor;

struct BalanceValue;
class EarlierLogits;
class ExchangeErrors;
class KeyChoices;

/// What cross attention reads: sequence n of the memory for sequence n of the call.
struct Memory {
  Tensor hidden_MD;
  Sequences sequences;
};

/// What one forward pass is told, whatever layer it is in. State comes in as arguments, so that
/// forward passes stay free of side effects.
struct PassContext {
  bool training = false;
  /// Seed and step of every random number that is drawn; a model sets the layer.
  RandomKey random = {};
  /// Type the products run in (bfloat16 for mixed precision); Undefined: that of the input. Routers
  /// keep float32.
  at::ScalarType compute = at::ScalarType::Undefined;
  /// The model must not look ahead: routers that couple tokens over time refuse unless told
  /// otherwise.
  bool causal = false;
  /// Positions of a sequence at most, where a causal model says so; 0: not known. In evaluation
  /// capacity reckons with it, so that no token depends on how long its sequence gets.
  int64_t context_length = 0;
  /// Share of a layer's choices that are computed, in (0, 1]: what a caller can spend. Models set
  /// it for each layer.
  double budget = 1;
  /// Of decoders that read an encoder's output; null: there is none.
  std::shared_ptr<const Memory> memory = {};
  /// Takes what rows lose that travel between ranks in fewer bits, in the pass and in the one back
  /// (flow/exchange_errors.h); null: nobody asks.
  std::shared_ptr<ExchangeErrors> exchange_errors = {};

  at::ScalarType compute_type(const Tensor& x) const {
    return compute == at::ScalarType::Undefined ? x.scalar_type() : compute;
  }
};

/// What a layer's balance terms added up in the earlier micro-batches of an optimizer step, over
/// all ranks.
struct SumsSoFar {
  /// Of each term, in the order of the layer's report; undefined for terms that do not ask for it.
  std::vector<Tensor> terms;
  /// () float64.
  Tensor tokens;
};

/// What one layer is told.
struct LayerContext : PassContext {
  TokenList tokens = {};
  /// Its number in the model.
  int64_t layer = 0;
  /// What layers before it chose for their tokens to see (flow/key_choices.h); null: nothing is
  /// shared between layers.
  std::shared_ptr<KeyChoices> key_choices = {};
  /// Router logits of the layers before it (flow/earlier_logits.h), for routers that go on from
  /// them; null: the layer stands alone.
  std::shared_ptr<EarlierLogits> earlier_logits = {};
  /// Where a mixer that routes puts its balance terms, for the report of its block; null: nobody
  /// asks.
  std::shared_ptr<std::vector<BalanceValue>> mixer_terms = {};
  /// (E,) pairs per expert in the earlier micro-batches of this optimizer step; undefined in the
  /// first.
  Tensor counts_so_far_E = {};
  /// The same of what its balance terms add up; empty in the first.
  SumsSoFar sums_so_far = {};
};

/// What moves the state of routers and balance terms after an optimizer step: counts over all ranks
/// and micro-batches.
struct StepStatistics {
  /// (E,) int64 pairs that routers gave each expert, before capacity.
  Tensor counts_E;
  int64_t step = 0;
  /// Tokens that the router saw, over all ranks and micro-batches; 0: not known.
  int64_t tokens = 0;
  /// The objective's mean over the step's targets; NaN: not known.
  double task_loss = std::numeric_limits<double>::quiet_NaN();
  /// (R,) float64 Routing::record_R added over all ranks and micro-batches; undefined: none.
  Tensor record_R = {};
};

}  // namespace moe
