#pragma once
// T tokens, D width.

#include <memory>
#include <string>

#include <moe/base/registry.h>
#include <moe/flow/context.h>
#include <moe/flow/output.h>
#include <moe/layers/state.h>
#include <moe/parallel/layout.h>
#include <moe/parameters/module.h>

namespace moe::layers {

/// What every feed-forward block is made for.
struct FeedForwardShape {
  int64_t d_model = 0;
  /// No token may depend on later ones.
  bool causal = false;
  /// Of norms inside the block.
  std::string norm = "rmsnorm";
  double norm_epsilon = 1e-5;
  /// Ranks over which experts may be sharded.
  parallel::Layout layout = {};
  at::TensorOptions tensors = {};
};

class MoELayerImpl;

/// The half of a block that looks at one token at a time: dense, Mixture of Experts, and what
/// combines them. Extension point: one file in feed_forwards/ and one line in feed_forwards.def add
/// a kind.
///
/// forward_tokens has no side effects beyond the state it is given; state across steps moves in
/// end_step only.
class FeedForward : public Module {
 public:
  using Module::Module;

  /// x_TD (T, D) -> (T, D), with load and losses where tokens were routed. With `state`,
  /// context.tokens.sequences holds one sequence a slot, as for mixers; the state is extended.
  virtual FeedForwardOutput forward_tokens(const Tensor& x_TD, const LayerContext& context,
                                           LayerState* state = nullptr) = 0;
  /// An empty state without slots, for what a later token's output depends on; null: only on the
  /// token. Throws moe::Error, naming the option, where a token's output depends on later tokens:
  /// such a layer cannot go on from earlier calls.
  virtual std::unique_ptr<LayerState> new_state(const StateShape& /*shape*/) const {
    return nullptr;
  }
  /// Whether forward_tokens routes.
  virtual bool routes() const { return false; }
  /// The mixture of experts that the block is or holds; null: none.
  virtual const MoELayerImpl* mixture() const { return nullptr; }
  /// Once after each optimizer step, with counts over all ranks and micro-batches; of blocks that
  /// route.
  virtual void end_step(const StepStatistics& /*statistics*/) {}
  /// Lets every token choose `top_k` experts, whatever the options say: for a model that is about
  /// to be loaded, since the block must have no memory yet. Nothing to do for blocks that do not
  /// route. Throws ConfigError for a number that the block cannot serve.
  virtual void use_top_k(int64_t top_k);
  /// Told by the stack that holds the block how many of its blocks route, for losses whose
  /// coefficient is meant for a mean over them.
  virtual void among(int64_t /*routing_blocks*/) {}
  /// Share of the parameter `info` that works for one token, on average: below 1 for experts.
  virtual double active_share(const ParameterInfo& /*info*/) const { return 1; }
  /// Multiply-adds x 2 of one token's forward pass.
  virtual int64_t flops_per_token() const = 0;
};

using FeedForwardRegistry = Registry<FeedForward, FeedForwardShape>;

/// The built-in kinds of feed_forwards.def and those added at run time.
FeedForwardRegistry& feed_forwards();

using FeedForwardSpec = KindSpec<feed_forwards, "dense">;

}  // namespace moe::layers
