#pragma once
// T tokens, D width, E experts.

#include <memory>
#include <vector>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <moe/balance/measure.h>
#include <moe/capacity/capacity.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/experts/experts.h>
#include <moe/flow/output.h>
#include <moe/layers/feed_forward.h>
#include <moe/layers/moe_options.h>
#include <moe/routing/router.h>

namespace moe::layers {

/// The block that replaces a feed-forward block: y_t = sum over t's choices of weight *
/// expert(x_t), plus the shared expert's output.
///
/// Forward has no side effects; the state of router and balance terms moves in end_step only. Safe
/// to call from several threads at once as long as nobody changes parameters. With a group of more
/// than one rank and the all_to_all dispatcher the experts are sharded.
class MoELayerImpl : public torch::nn::Module {
 public:
  /// `make_experts` makes the experts of this rank instead of the kind that the options name: see
  /// experts/modules.h for experts that are modules of one's own.
  explicit MoELayerImpl(const MoELayerOptions& options,
                        std::shared_ptr<parallel::Communicator> group = parallel::local(),
                        const experts::ExpertsMaker& make_experts = {});

  /// x_TD (T, D) of a floating dtype. Throws moe::Error for another shape.
  MoEOutput forward(const Tensor& x_TD, const RoutingContext& context = {});

  /// Once after each optimizer step, with counts over ranks and micro-batches.
  void end_step(const StepStatistics& statistics);

  const MoELayerOptions& options() const { return options_; }
  routing::Router& router() { return *router_; }
  experts::Experts& experts() { return *experts_; }
  /// Multiply-adds x 2 of one token's forward pass, router included.
  int64_t flops_per_token() const;

 private:
  void add_balance_term(const BalanceSpec& spec);
  /// The weighted sum of each token's experts; (T, D) float32 or float64.
  Tensor through_experts(const Tensor& x_TD, const Routing& routing, const RoutingContext& context);
  /// Losses and load of what the router chose; drops of what capacity left of it.
  BalanceReport measure_balance(const Routing& chosen, const Routing& limited,
                                const RoutingContext& context) const;

  MoELayerOptions options_;
  std::shared_ptr<parallel::Communicator> group_;
  std::shared_ptr<routing::Router> router_;
  std::shared_ptr<const capacity::Capacity> capacity_;
  std::shared_ptr<dispatch::Dispatcher> dispatcher_;
  std::shared_ptr<experts::Experts> experts_;
  std::vector<balance::WeightedTerm> balance_;
  FeedForward shared_{nullptr};
};
TORCH_MODULE(MoELayer);

}  // namespace moe::layers

namespace moe {
using layers::MoELayer;
using layers::MoELayerOptions;
}  // namespace moe
