// T tokens, D width, E experts.
#include <cmath>

#include <ATen/TensorOperators.h>

#include <moe/layers/moe_layer.h>

namespace moe::layers {

MoELayerImpl::MoELayerImpl(const MoELayerOptions& options,
                           std::shared_ptr<parallel::Communicator> group)
    : options_(options), group_(std::move(group)) {
  auto& o = options_;
  if (o.expert.d_ff == 0) o.expert.d_ff = 4 * o.d_model;

  dispatcher_ = dispatch::dispatchers()
                    .at(o.dispatcher)
                    .make({.num_experts = o.num_experts, .group = group_}, {});
  const auto [first, local] = dispatcher_->local_experts();
  router_ = register_module(
      "router", routing::routers()
                    .at(o.router.kind)
                    .make({.d_model = o.d_model, .num_experts = o.num_experts, .top_k = o.top_k},
                          o.router.options));
  experts_ = register_module("experts", experts::expert_kinds()
                                            .at(o.expert.kind)
                                            .make({.d_model = o.d_model,
                                                   .d_ff = o.expert.d_ff,
                                                   .num_experts = o.num_experts,
                                                   .first = first,
                                                   .local = local},
                                                  o.expert.options));
  for (const auto& [kind, coefficient, settings] : o.balance)
    balance_.push_back({kind, coefficient,
                        balance::terms().at(kind).make(
                            {.num_experts = o.num_experts, .top_k = o.top_k}, settings)});
  if (o.shared.d_ff > 0)
    shared_ = register_module("shared", FeedForward("gated", o.d_model, o.shared.d_ff,
                                                    experts::GatedOptions(), o.shared.gate));
  initialise(*this, o.init, static_cast<uint64_t>(o.seed));
}

MoEOutput MoELayerImpl::forward(const Tensor& x_TD, const RoutingContext& context) {
  check(x_TD.dim() == 2 && x_TD.size(1) == options_.d_model, "layers/moe",
        "expected x of shape (T, D=", options_.d_model, "), got ", x_TD.sizes(),
        ". Flatten batch and sequence first.");
  const Routing routing = router_->forward(x_TD, context);
  const DispatchPlan plan = dispatcher_->plan(routing);
  const ExpertRows rows = dispatcher_->dispatch(x_TD.to(context.compute_type(x_TD)), routing, plan);
  Tensor y_TD = dispatcher_->combine(experts_->forward(rows, context), routing, plan);
  if (shared_) y_TD = y_TD + shared_(x_TD, context);
  return {y_TD.to(x_TD.scalar_type()), balance::measure(balance_, routing, context, *group_),
          routing};
}

int64_t MoELayerImpl::flops_per_token() const {
  const int64_t router = 2 * options_.d_model * options_.num_experts;
  const double routed =
      router_->experts_per_token() * static_cast<double>(experts_->flops_per_row());
  return router + std::llround(routed) + (shared_ ? shared_->flops_per_row() : 0);
}

}  // namespace moe::layers
