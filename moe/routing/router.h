#pragma once
// T tokens, D model width, E experts, K choices per token.

#include <memory>
#include <string>
#include <vector>

#include <moe/base/registry.h>
#include <moe/flow/context.h>
#include <moe/flow/routing.h>
#include <moe/parallel/communicator.h>
#include <moe/parameters/module.h>

namespace moe::routing {

/// What every router is made for.
struct RouterShape {
  int64_t d_model = 0;
  int64_t num_experts = 0;
  int64_t top_k = 1;
  /// The ranks whose tokens are routed together, for rules that look at all of them.
  std::shared_ptr<parallel::Communicator> group = parallel::local();
  /// Of its parameters.
  at::TensorOptions tensors = {};
};

/// Tokens -> Routing. Extension point: one file in kinds/ and one line in routers.def add a kind.
///
/// forward is free of side effects; state across steps lives in registered buffers and moves only
/// in end_step. Logits and probabilities are float32 (float64 for float64 inputs) whatever the
/// model's dtype. Ties go to the lowest id.
class Router : public Module {
 public:
  explicit Router(const RouterShape& shape);

  std::optional<Part> part() const final { return Part::kRouter; }

  /// x_TD of any floating dtype. Throws moe::Error when the width differs or the rule cannot serve
  /// the context.
  virtual Routing forward(const Tensor& x_TD, const LayerContext& context) = 0;

  /// Called once after an optimizer step, with counts over all ranks and micro-batches.
  virtual void end_step(const StepStatistics& statistics);

  /// Whether a token's experts depend on later tokens of the call. Such a router refuses causal
  /// models unless told otherwise, and serves no sequence that goes on in later calls.
  virtual bool looks_ahead() const { return false; }

  /// Whether shape().top_k says how many experts a token gets; false where the rule says it.
  virtual bool takes_top_k() const { return true; }
  /// Whether a token's pairs stand in the order of its choice, so that a smaller budget keeps the
  /// first of them (routing/budget.h).
  virtual bool ranks_choices() const { return true; }
  /// Experts that work for a token, on average.
  virtual double active_experts() const { return static_cast<double>(shape_.top_k); }

  /// Whether the gradient of the weights in training estimates more than their derivative (straight
  /// through a threshold, by sampling), so that differences of the weights do not show it.
  virtual bool estimates_gradient() const { return false; }
  /// Whether the rule itself shares the tokens of training out evenly, so that a capacity would
  /// only undo it.
  virtual bool shares_out_evenly() const { return false; }
  /// Experts that the last end_step started anew, whose optimizer state whoever trains clears.
  virtual std::vector<int64_t> started_anew() const { return {}; }

  /// Why the task loss cannot train it as it is set, and what would change that; "" where it can.
  const std::string& untrained() const { return untrained_; }

  const RouterShape& shape() const { return shape_; }

 protected:
  /// For constructors: what untrained() says. Warns of it at once where the router has memory, as
  /// in a layer on its own; models are made without, again and again to be counted, and whoever
  /// trains one asks.
  void set_untrained(std::string why);

  RouterShape shape_;

 private:
  std::string untrained_;
};

using RouterRegistry = Registry<Router, RouterShape>;

/// The built-in kinds of routers.def and those added at run time.
RouterRegistry& routers();

using RouterSpec = KindSpec<routers, "topk">;

}  // namespace moe::routing

namespace moe {
using routing::RouterSpec;
}  // namespace moe
