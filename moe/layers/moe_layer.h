#pragma once
// T tokens, D width, E experts.

#include <memory>
#include <optional>
#include <vector>

#include <torch/nn/pimpl.h>

#include <moe/balance/measure.h>
#include <moe/capacity/capacity.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/experts/experts.h>
#include <moe/layers/constant_experts.h>
#include <moe/layers/feed_forward.h>
#include <moe/layers/moe_options.h>
#include <moe/layers/norm.h>
#include <moe/routing/router.h>

namespace moe::layers {

/// The block that replaces a feed-forward block: y_t = sum over t's choices of weight *
/// expert(x_t), plus the shared expert's output.
///
/// With several ranks that share experts and the all_to_all dispatcher the experts are sharded.
class MoELayerImpl : public FeedForward {
 public:
  /// A layer on its own, for user-defined models: it has memory and numbers.
  ///
  /// `make_experts` makes the experts of this rank instead of the kind that the options name: see
  /// experts/modules.h for experts that are user-defined modules.
  explicit MoELayerImpl(const MoELayerOptions& options,
                        const experts::ExpertsMaker& make_experts = {},
                        const parallel::Layout& layout = {});
  MoELayerImpl(const MoELayerOptions& options, const parallel::Layout& layout)
      : MoELayerImpl(options, {}, layout) {}
  /// The feed-forward of a block, of the block's width: unfilled.
  MoELayerImpl(const FeedForwardShape& shape, const MoELayerOptions& options,
               const experts::ExpertsMaker& make_experts = {});

  /// x (…, D) of a floating dtype, in whose last dimensions but one sequences lie: (T, D) is one
  /// sequence, (B, S, D) are B of them. mask (…) bool, false for padding, whose output is 0;
  /// undefined: none. The output has x's shape.
  ///
  /// For layers on their own: trains or not as is_training() says; counts a step at each call in
  /// training, so that noise differs from call to call, and moves routers' and terms' state (as
  /// end_step does) by the load of the call before. Whoever accumulates gradients or trains on
  /// several ranks calls forward_tokens with a context instead, and end_step. Not for concurrent
  /// calls in training.
  FeedForwardOutput forward(const Tensor& x, const Tensor& mask = {});
  /// x_TD (T, D). Free of side effects; safe to call from several threads as long as nobody changes
  /// parameters. Throws moe::Error for another shape.
  FeedForwardOutput forward_tokens(const Tensor& x_TD, const LayerContext& context,
                                   LayerState* state = nullptr) override;
  /// How many tokens of each sequence the experts took, where capacity limits evaluation.
  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override;
  bool routes() const override { return true; }
  const MoELayerImpl* mixture() const override { return this; }
  /// Once after each optimizer step, with counts over ranks and micro-batches.
  void end_step(const StepStatistics& statistics) override;
  /// Makes router, capacity and balance terms anew, so that they are those of a layer with this
  /// option. Throws ConfigError outside of [1, num_experts] and for routers whose rule says how
  /// many experts a token gets.
  void use_top_k(int64_t top_k) override;
  void among(int64_t routing_blocks) override;
  double active_share(const ParameterInfo& info) const override;
  int64_t flops_per_token() const override;

  /// Experts that work for a token, on average: what the router says, and no more than a capacity
  /// factor below 1 lets through.
  double active_experts() const;
  const MoELayerOptions& options() const { return options_; }
  routing::Router& router() { return *router_; }
  const routing::Router& router() const { return *router_; }
  experts::Experts& experts() { return *experts_; }
  const experts::Experts& experts() const { return *experts_; }

 private:
  std::shared_ptr<routing::Router> make_router() const;
  std::shared_ptr<const capacity::Capacity> make_capacity() const;
  balance::TermShape term_shape() const;
  void add_balance_term(const BalanceSpec& spec);
  void check_branches() const;
  void check_least_top_k() const;
  /// Experts that compute no product: identity, zero and constant ones.
  int64_t free_experts() const {
    return options_.identity_experts + options_.zero_experts + options_.constant_experts;
  }
  /// Experts that the router chooses among: the free ones come behind the others.
  int64_t columns() const { return options_.num_experts + free_experts(); }
  /// In training with least_top_k, the context with the budget that is drawn for this step.
  std::optional<LayerContext> drawn_step(const LayerContext& context) const;
  /// The weighted sum of each token's experts; (T, D) float32 or float64. `rows_X2`: what
  /// BalanceInputs has.
  Tensor through_experts(const Tensor& x_TD, const Routing& routing, const LayerContext& context,
                         Tensor& rows_X2);
  /// The same of a routing whose last experts are free.
  Tensor with_free_experts(const Tensor& x_TD, const Routing& routing, const LayerContext& context,
                           Tensor& rows_X2);
  Tensor through_shared(const Tensor& x_TD, const LayerContext& context, LayerState* state);
  /// The stacks of this rank's experts for terms on weights; zeros where another rank counts the
  /// same ones.
  Parameters counted_experts() const;
  /// Losses and load of what the router chose; drops of what capacity left of it.
  BalanceReport measure_balance(const Routing& chosen, const Routing& limited,
                                const LayerContext& context, const Tensor& rows_X2) const;

  MoELayerOptions options_;
  bool causal_ = false;
  parallel::Layout layout_;
  std::shared_ptr<routing::Router> router_;
  std::shared_ptr<const capacity::Capacity> capacity_;
  std::shared_ptr<dispatch::Dispatcher> dispatcher_;
  std::shared_ptr<experts::Experts> experts_;
  ConstantExperts constant_experts_{nullptr};
  std::vector<balance::WeightedTerm> balance_;
  int64_t routing_blocks_ = 1;  // of the model
  Tensor b_out_D;               // undefined without output_bias
  std::shared_ptr<FeedForward> shared_;
  /// Null without branch_norms.
  struct BranchNorms {
    Norm before{nullptr}, behind{nullptr};
  };
  BranchNorms expert_norms_, shared_norms_;

  // Of a layer on its own.
  uint64_t seed_ = 0;
  uint64_t step_ = 0;
  StepStatistics waiting_;  // of the last call in training, for the next one to move state by
};

/// Shares a layer, as torch::nn's holders do: MoELayer layer({.d_model = 512, .num_experts = 64,
/// .top_k = 2}).
class MoELayer : public torch::nn::ModuleHolder<MoELayerImpl> {
 public:
  using torch::nn::ModuleHolder<MoELayerImpl>::ModuleHolder;
  using Impl = MoELayerImpl;
  explicit MoELayer(const MoELayerOptions& options)
      : torch::nn::ModuleHolder<MoELayerImpl>(options) {}
};

}  // namespace moe::layers

namespace moe {
using layers::MoELayer;
using layers::MoELayerOptions;
using MoEOutput = FeedForwardOutput;
}  // namespace moe
