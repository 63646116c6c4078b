// T tokens, D width, E experts.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <moe/layers/moe_layer.h>
#include <moe/routing/expert_dropout.h>

namespace moe::layers {

namespace {

std::vector<std::pair<std::string, Tensor>> parameters_of(const torch::nn::Module& module) {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const auto& item : module.named_parameters()) out.emplace_back(item.key(), item.value());
  return out;
}

}  // namespace

MoELayerImpl::MoELayerImpl(const MoELayerOptions& options,
                           std::shared_ptr<parallel::Communicator> group,
                           const experts::ExpertsMaker& make_experts)
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
  capacity_ = std::make_shared<capacity::Capacity>(
      capacity::CapacityShape{.num_experts = o.num_experts,
                              .choices = router_->experts_per_token(),
                              .ranks = group_->size()},
      o.capacity);
  const experts::ExpertsShape shape = {.d_model = o.d_model,
                                       .d_ff = o.expert.d_ff,
                                       .num_experts = o.num_experts,
                                       .first = first,
                                       .local = local};
  experts_ = register_module(
      "experts", make_experts
                     ? make_experts(shape)
                     : experts::expert_kinds().at(o.expert.kind).make(shape, o.expert.options));
  check(experts_ != nullptr, "layers/moe", "expected experts from make_experts, got none.");
  check<ConfigError>(o.expert_dropout >= 0 && o.expert_dropout < 1, "layers/moe",
                     "expected expert_dropout in [0, 1), got ", o.expert_dropout, ". Lower it.");
  for (const auto& spec : o.balance) add_balance_term(spec);
  if (o.shared.d_ff > 0)
    shared_ = register_module("shared", FeedForward("gated", o.d_model, o.shared.d_ff,
                                                    experts::GatedOptions(), o.shared.gate));
  initialise(*this, o.init, static_cast<uint64_t>(o.seed));
}

void MoELayerImpl::add_balance_term(const BalanceSpec& spec) {
  // Reported and saved under its kind; a second term of a kind gets a number.
  std::string name = spec.kind;
  const auto taken = [&](const auto& other) { return other.name == name; };
  for (int64_t number = 2; std::any_of(balance_.begin(), balance_.end(), taken); ++number)
    name = concat(spec.kind, '_', number);
  const auto term = balance::terms().at(spec.kind).make(
      {.num_experts = options_.num_experts, .top_k = options_.top_k}, spec.options);
  balance_.push_back({name, spec.coefficient, register_module("balance_" + name, term)});
}

MoEOutput MoELayerImpl::forward(const Tensor& x_TD, const RoutingContext& context) {
  check(x_TD.dim() == 2 && x_TD.size(1) == options_.d_model, "layers/moe",
        "expected x of shape (T, D=", options_.d_model, "), got ", x_TD.sizes(),
        ". Flatten batch and sequence first.");
  // Balance looks at what the router chose; who found no room or sits out is not its doing.
  const Routing chosen = router_->forward(x_TD, context);
  const Routing limited = capacity_->apply(chosen, context);
  const Routing routing = routing::drop_experts(limited, context, options_.expert_dropout);
  Tensor y_TD = through_experts(x_TD.to(context.compute_type(x_TD)), routing, context);
  if (shared_) y_TD = y_TD + shared_(x_TD, context);
  return {y_TD.to(x_TD.scalar_type()), measure_balance(chosen, limited, context), routing};
}

Tensor MoELayerImpl::through_experts(const Tensor& x_TD, const Routing& routing,
                                     const RoutingContext& context) {
  const DispatchPlan plan = dispatcher_->plan(routing);
  const ExpertRows rows = dispatcher_->dispatch(x_TD, routing, plan);
  if (const auto pairs = dispatcher_->combination(routing, plan))
    return experts_->forward_combined(rows, *pairs, context);
  return dispatcher_->combine(experts_->forward(rows, context), routing, plan);
}

BalanceReport MoELayerImpl::measure_balance(const Routing& chosen, const Routing& limited,
                                            const RoutingContext& context) const {
  balance::LayerWeights weights;
  // Reading all weights would slow inference, where nothing learns from the loss.
  const bool learns = context.training || at::GradMode::is_enabled();
  const bool read =
      learns && std::any_of(balance_.begin(), balance_.end(),
                            [](const auto& weighted) { return weighted.term->wants_weights(); });
  if (read)
    weights = {parameters_of(*router_), experts_->stacked_parameters(), experts_->shape().first};
  return balance::measure(balance_,
                          {.routing = chosen,
                           .context = context,
                           .weights = read ? &weights : nullptr,
                           .dropped = limited.dropped()},
                          *group_);
}

void MoELayerImpl::end_step(const StepStatistics& statistics) {
  router_->end_step(statistics);
  for (const auto& weighted : balance_) weighted.term->end_step(statistics);
}

int64_t MoELayerImpl::flops_per_token() const {
  int64_t router = 0;
  for (const auto& parameter : router_->parameters())
    if (parameter.dim() >= 2) router += 2 * parameter.numel();
  const double routed = options_.capacity.experts_per_token(router_->experts_per_token()) *
                        static_cast<double>(experts_->flops_per_row());
  return router + std::llround(routed) + (shared_ ? shared_->flops_per_row() : 0);
}

}  // namespace moe::layers
