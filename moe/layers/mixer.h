#pragma once
// T tokens, D width, N sequences.

#include <memory>
#include <vector>

#include <moe/base/registry.h>
#include <moe/flow/context.h>
#include <moe/layers/state.h>
#include <moe/parallel/layout.h>
#include <moe/parameters/module.h>

namespace moe::layers {

/// What every mixer is made for.
struct MixerShape {
  int64_t d_model = 0;
  bool causal = true;
  /// Norm of queries and keys, and of whatever else a mixer normalises inside.
  std::string norm = "rmsnorm";
  double norm_epsilon = 1e-5;
  /// Ranks whose tokens the balance of a mixer that routes looks at together.
  parallel::Layout layout = {};
  at::TensorOptions tensors = {};
};

/// Mixes tokens of one sequence: attention in its forms, convolutions, recurrences.
/// Extension point: one file in mixers/ and one line in mixers.def add a kind.
///
/// Forward has no side effects beyond the state it is given. A sequence gets what it would get
/// alone.
class Mixer : public Module {
 public:
  using Module::Module;

  /// x_TD (T, D) -> (T, D). With `state`, context.tokens.sequences holds one sequence a slot (of no
  /// token, where nothing is new) whose first position is what the slot has seen; the state is
  /// extended.
  virtual Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) = 0;
  /// An empty state without slots.
  virtual std::unique_ptr<LayerState> new_state(const StateShape& shape) const = 0;
  /// Called once, when the model is made, with the mixer of the layer before: one that uses what
  /// another holds for several layers (a table of relative positions) takes it from there.
  virtual void follow(const Mixer& /*earlier*/) {}
  /// Whether it has balance terms, which it puts into context.mixer_terms.
  virtual bool balances() const { return false; }
  /// As FeedForward::among.
  virtual void among(int64_t /*routing_blocks*/) {}
  /// FLOPs a token that sees `keys` tokens, without the 2 for each number of a parameter with two
  /// dimensions, which counts.cpp adds.
  virtual int64_t flops_over_keys(int64_t keys) const = 0;
  /// Share of the parameters `info` that works for one token, on average: below 1 for experts.
  virtual double active_share(const ParameterInfo& /*info*/) const { return 1; }
  /// Numbers that the state of one sequence of `positions` positions holds.
  virtual int64_t state_numbers(int64_t positions) const = 0;
};

using MixerRegistry = Registry<Mixer, MixerShape>;

/// The built-in kinds of mixers.def and those added at run time.
MixerRegistry& mixers();

using MixerSpec = KindSpec<mixers, "attention">;

}  // namespace moe::layers
