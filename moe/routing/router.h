#pragma once
// T tokens, D model width, E experts, K choices per token.

#include <torch/nn/module.h>

#include <moe/base/registry.h>
#include <moe/flow/context.h>
#include <moe/flow/routing.h>

namespace moe::routing {

/// What every router is made for.
struct RouterShape {
  int64_t d_model = 0;
  int64_t num_experts = 0;
  int64_t top_k = 1;
};

/// Tokens -> Routing. A swap point: one file in kinds/ and one line in routers.def add a kind.
///
/// forward is free of side effects; state across steps lives in registered buffers and moves only
/// in end_step. Logits and probabilities are float32 (float64 for float64 inputs) whatever the
/// model's dtype. Ties go to the lowest id.
class Router : public torch::nn::Module {
 public:
  explicit Router(const RouterShape& shape);

  /// x_TD of any floating dtype. Throws moe::Error when the width differs or the rule cannot serve
  /// the context.
  virtual Routing forward(const Tensor& x_TD, const RoutingContext& context) = 0;

  /// Called once after an optimizer step, with counts over all ranks and micro-batches.
  virtual void end_step(const StepStatistics& statistics);

  /// Experts that meet a token, on average.
  virtual double experts_per_token() const { return static_cast<double>(shape_.top_k); }

  const RouterShape& shape() const { return shape_; }

 protected:
  RouterShape shape_;
};

using RouterRegistry = Registry<Router, RouterShape>;

/// The built-in kinds of routers.def and those added at run time.
RouterRegistry& routers();

/// Makes `Class(const RouterShape&, const Options&)` known as `name`.
template <class Class, class Options = NoOptions>
void register_router(const std::string& name, const std::string& help) {
  routers().add(name, help, kind_of<Router, RouterShape, Class, Options>());
}

}  // namespace moe::routing

/// In kinds/NAME.cpp: what routers.def's X(NAME, "help") refers to.
#define MOE_ROUTER(name, Class, Options)                   \
  namespace moe::routing::kinds {                          \
  RouterRegistry::Entry make_##name() {                    \
    return kind_of<Router, RouterShape, Class, Options>(); \
  }                                                        \
  }
