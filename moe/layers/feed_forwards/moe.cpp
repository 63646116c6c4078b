// T tokens, D width, E experts.
#include <algorithm>
#include <cmath>
#include <mutex>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/dispatch/rows_sent.h>
#include <moe/flow/packing.h>
#include <moe/layers/moe_layer.h>
#include <moe/layers/moe_state.h>
#include <moe/parameters/initialise.h>
#include <moe/parameters/list.h>
#include <moe/routing/budget.h>
#include <moe/routing/expert_dropout.h>

namespace moe::layers {

namespace {

/// The part of Purpose::kRouting that draws how many choices count in a step; routers draw from the
/// parts from 0 on, capacity from the last one.
constexpr uint32_t kBudgetPart = ~uint32_t{0} - 1;

/// The next number of libtorch's own generator, which torch::manual_seed sets.
uint64_t draw_seed() {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return at::check_generator<at::CPUGeneratorImpl>(generator)->random64();
}

}  // namespace

MoELayerImpl::MoELayerImpl(const MoELayerOptions& options,
                           const experts::ExpertsMaker& make_experts,
                           const parallel::Layout& layout)
    : MoELayerImpl({.d_model = options.d_model, .layout = layout}, options, make_experts) {
  seed_ = options.seed >= 0 ? static_cast<uint64_t>(options.seed) : draw_seed();
  initialise(*this, options.init, seed_);
}

MoELayerImpl::MoELayerImpl(const FeedForwardShape& shape, const MoELayerOptions& options,
                           const experts::ExpertsMaker& make_experts)
    : FeedForward(shape.tensors), options_(options), causal_(shape.causal), layout_(shape.layout) {
  auto& o = options_;
  o.d_model = shape.d_model;
  if (o.expert.d_ff == 0) o.expert.d_ff = 4 * o.d_model;
  constexpr int64_t kMostExperts = 1 << 20;  // each costs memory before it has numbers
  check<ConfigError>(o.num_experts <= kMostExperts, "layers/moe", "expected at most ", kMostExperts,
                     " experts, got ", o.num_experts, ". Correct num_experts.");
  check_branches();
  dispatcher_ = dispatch::dispatchers()
                    .at(o.dispatcher)
                    .make({.num_experts = o.num_experts,
                           .group = layout_.experts,
                           .exchange = layout_.exchange,
                           .placement = layout_.placement},
                          {});
  const auto mine = dispatcher_->local_experts();
  router_ = register_module("router", make_router());
  check<ConfigError>(!router_->shares_out_evenly() || (!o.capacity.limits(/*training=*/true) &&
                                                       !o.capacity.limits(/*training=*/false)),
                     "layers/moe", "expected no capacity with router.kind = \"", o.router.kind,
                     "\", which gives every expert its share of the tokens itself, got one. Leave "
                     "capacity.factor, eval_factor, eval_fraction and limit at 0.");
  capacity_ = make_capacity();
  const experts::ExpertsShape expert_shape = {.d_model = o.d_model,
                                              .d_ff = o.expert.d_ff,
                                              .num_experts = o.num_experts,
                                              .first = mine.empty() ? 0 : mine.front(),
                                              .local = static_cast<int64_t>(mine.size()),
                                              .placement = layout_.placement,
                                              .rank = layout_.experts->rank(),
                                              .tensors = shape.tensors};
  experts_ = register_module(
      "experts", make_experts ? make_experts(expert_shape) : o.expert.make(expert_shape));
  check(experts_ != nullptr, "layers/moe", "expected experts from make_experts, got none.");
  check<ConfigError>(o.expert_dropout >= 0 && o.expert_dropout < 1, "layers/moe",
                     "expected expert_dropout in [0, 1), got ", o.expert_dropout, ". Correct it.");
  for (const auto& spec : o.balance) add_balance_term(spec);
  check_least_top_k();
  if (o.constant_experts > 0)
    constant_experts_ = register_module(
        "constant_experts", ConstantExperts(o.constant_experts, o.d_model, shape.tensors));
  const auto add_norms = [&](const std::string& name, BranchNorms& norms) {
    if (!o.branch_norms) return;
    const auto norm = [&] {
      return Norm(shape.norm, o.d_model, shape.norm_epsilon, shape.tensors);
    };
    norms.before = register_module(name + "_norm", norm());
    norms.behind = register_module(name + "_output_norm", norm());
  };
  add_norms("expert", expert_norms_);
  if (o.output_bias) b_out_D = add_parameter("b_out", {o.d_model}, {.role = Role::kBias});
  if (!is_present(o.shared)) return;
  add_norms("shared", shared_norms_);
  parallel::Layout shared_layout = layout_;
  shared_layout.placement = nullptr;  // which is for the experts above
  shared_ =
      register_module("shared", o.shared.make(FeedForwardShape{.d_model = o.d_model,
                                                               .causal = shape.causal,
                                                               .norm = shape.norm,
                                                               .norm_epsilon = shape.norm_epsilon,
                                                               .layout = shared_layout,
                                                               .tensors = shape.tensors}));
}

void MoELayerImpl::check_branches() const {
  const auto& o = options_;
  for (const auto& [key, count] : {std::pair{"identity_experts", o.identity_experts},
                                   std::pair{"zero_experts", o.zero_experts},
                                   std::pair{"constant_experts", o.constant_experts}}) {
    check<ConfigError>(count >= 0, "layers/moe", "expected ", key, " of at least 0, got ", count,
                       ". Correct it.");
    check<ConfigError>(
        count == 0 ||
            (!o.capacity.limits(/*training=*/true) && !o.capacity.limits(/*training=*/false)),
        "layers/moe", "expected no capacity with ", key, "=", count,
        ", got one: experts that cost nothing are never full. Leave capacity.factor, "
        "eval_factor and limit at 0.");
  }
  check<ConfigError>(std::isfinite(o.output_scale), "layers/moe",
                     "expected a finite output_scale, got ", o.output_scale, ". Correct it.");
}

void MoELayerImpl::check_least_top_k() const {
  const auto& o = options_;
  check<ConfigError>(o.least_top_k >= 0 && o.least_top_k <= o.top_k, "layers/moe",
                     "expected least_top_k in [0, top_k=", o.top_k, "], got ", o.least_top_k,
                     ". Use 0 for always top_k.");
  check<ConfigError>(o.least_top_k == 0 || (router_->takes_top_k() && router_->ranks_choices()),
                     "layers/moe", "expected least_top_k = 0 with router.kind = \"", o.router.kind,
                     "\", which does not give every token its top_k best experts, got ",
                     o.least_top_k, ". Leave it out, or take another router.");
}

std::shared_ptr<routing::Router> MoELayerImpl::make_router() const {
  return options_.router.make(routing::RouterShape{.d_model = options_.d_model,
                                                   .num_experts = columns(),
                                                   .top_k = options_.top_k,
                                                   .group = layout_.world,
                                                   .tensors = tensors()});
}

std::shared_ptr<const capacity::Capacity> MoELayerImpl::make_capacity() const {
  return std::make_shared<capacity::Capacity>(
      capacity::CapacityShape{.num_experts = options_.num_experts,
                              .choices = router_->active_experts(),
                              .ranks = layout_.world->size(),
                              .causal = causal_},
      options_.capacity);
}

balance::TermShape MoELayerImpl::term_shape() const {
  std::vector<double> costs = experts_->costs();
  if (!costs.empty()) costs.resize(static_cast<size_t>(columns()), 0);
  return {.num_experts = columns(),
          .top_k = options_.top_k,
          .tensors = tensors(),
          .costs = costs,
          .free_experts = free_experts()};
}

void MoELayerImpl::add_balance_term(const BalanceSpec& spec) {
  // Reported and saved under its kind; a second term of a kind gets a number.
  std::string name = spec.kind;
  const auto taken = [&](const auto& other) { return other.name == name; };
  for (int64_t number = 2; std::any_of(balance_.begin(), balance_.end(), taken); ++number)
    name = concat(spec.kind, '_', number);
  const auto term = register_module("balance_" + name, spec.make(term_shape()));
  balance_.push_back({name, spec.own_coefficient(term_shape(), routing_blocks_), term});
}

void MoELayerImpl::among(int64_t routing_blocks) {
  routing_blocks_ = routing_blocks;
  for (size_t i = 0; i < balance_.size(); ++i)
    balance_[i].coefficient = options_.balance[i].own_coefficient(term_shape(), routing_blocks);
}

void MoELayerImpl::use_top_k(int64_t top_k) {
  constexpr const char* kPlace = "layers/moe";
  check<ConfigError>(top_k >= 1 && top_k <= columns(), kPlace,
                     "expected top_k in [1, num_experts=", columns(), "], got ", top_k,
                     ". Correct it.");
  check<ConfigError>(router_->takes_top_k(), kPlace,
                     "expected a router that gives every token top_k experts, got '",
                     options_.router.kind, "', whose rule says how many. Leave top_k out.");
  if (top_k == options_.top_k) return;
  check(tensors().device().is_meta(), kPlace,
        "expected a layer without memory to change top_k of, got one with numbers. Make it with "
        "this top_k.");
  options_.top_k = top_k;
  router_ = replace_module("router", make_router());
  capacity_ = make_capacity();
  for (size_t i = 0; i < balance_.size(); ++i)
    balance_[i].term =
        replace_module("balance_" + balance_[i].name, options_.balance[i].make(term_shape()));
  among(routing_blocks_);
}

FeedForwardOutput MoELayerImpl::forward(const Tensor& x, const Tensor& mask) {
  const int64_t D = options_.d_model;
  check(x.dim() >= 2 && x.size(-1) == D, "layers/moe", "expected x of shape (…, D=", D, "), got ",
        x.sizes(), ". The last dimension is the layer's d_model.");
  check(!mask.defined() ||
            (mask.scalar_type() == at::kBool && mask.sizes() == x.sizes().slice(0, x.dim() - 1)),
        "layers/moe", "expected a mask of type Bool and shape ", x.sizes().slice(0, x.dim() - 1),
        ", got ", mask.defined() ? concat(mask.scalar_type(), ' ', mask.sizes()) : "none",
        ". Mark every token of x.");
  const int64_t S = x.size(-2), B = S > 0 ? x.numel() / (S * D) : 0;
  const Packing packing = mask.defined() ? Packing(mask.reshape({B, S})) : Packing(B, S);
  LayerContext context;
  context.training = is_training();
  context.tokens.sequences = packing.sequences();
  if (context.training) {
    if (waiting_.counts_E.defined()) end_step(StepStatistics(waiting_));
    context.random = {.seed = seed_, .step = ++step_};
  }
  FeedForwardOutput out = forward_tokens(packing.pack(x.reshape({B * S, D})), context);
  if (context.training)
    waiting_ = {.counts_E = out.balance.load_E.to(at::kLong),
                .step = static_cast<int64_t>(step_),
                .tokens = out.balance.tokens.item<int64_t>(),
                .record_R = out.balance.record_R};
  out.hidden_TD = packing.unpack(out.hidden_TD).reshape(x.sizes());
  return out;
}

std::unique_ptr<LayerState> MoELayerImpl::new_state(const StateShape& shape) const {
  const std::string capacity = capacity_->needs_whole_groups(/*training=*/false);
  check(!router_->looks_ahead() && capacity.empty(), "layers/moe",
        "expected a layer whose tokens do not depend on later ones, to generate one by one, got ",
        router_->looks_ahead() ? concat("router.kind = \"", options_.router.kind, '"')
                               : concat("capacity.", capacity),
        options_.capacity.whole_call && !capacity.empty()
            ? ": an expert has room for so many tokens of a call, so what a token gets depends on "
              "the texts beside it and on how many tokens are read at a time. Evaluate whole texts "
              "(moe eval, moe forward), or make room for every token: capacity.eval_factor, "
              "eval_fraction and limit of 0 (of NLLB-MoE moe_eval_capacity_token_fraction = 1.0 in "
              "config.json)."
        : router_->looks_ahead()
            ? ". Evaluate whole texts (moe eval, moe forward), or train with another router."
            : ". Evaluate whole texts (moe eval, moe forward), or train with capacity.eval_factor "
              "= 0, or capacity.order = \"token\" and capacity.group_tokens = 0.");
  auto out = std::make_unique<MoEState>();
  if (shared_) out->shared = shared_->new_state(shape);
  if (!options_.capacity.limits(/*training=*/false) && !out->shared) return nullptr;
  out->taken_NE = at::zeros({0, options_.num_experts}, shape.tensors.dtype(at::kLong));
  return out;
}

FeedForwardOutput MoELayerImpl::forward_tokens(const Tensor& x_TD, const LayerContext& context,
                                               LayerState* state) {
  check(x_TD.dim() == 2 && x_TD.size(1) == options_.d_model, "layers/moe",
        "expected x of shape (T, D=", options_.d_model, "), got ", x_TD.sizes(),
        ". Beside a context, tokens are a list.");
  // Balance is measured on the router's own choice, what the budget leaves of it, before capacity
  // and expert dropout.
  const std::optional<LayerContext> drawn = drawn_step(context);
  const LayerContext& step = drawn ? *drawn : context;
  const Routing chosen = routing::within_budget(router_->forward(x_TD, step), *router_, step);
  auto* const mine = static_cast<MoEState*>(state);
  const Routing limited = capacity_->apply(chosen, context, mine ? &mine->taken_NE : nullptr);
  const Routing routing = routing::drop_experts(limited, context, options_.expert_dropout);
  const Tensor in_TD = expert_norms_.before ? expert_norms_.before(x_TD) : x_TD;
  Tensor rows_X2;
  Tensor y_TD = free_experts() > 0 ? with_free_experts(in_TD, routing, context, rows_X2)
                                   : through_experts(in_TD.to(context.compute_type(x_TD)), routing,
                                                     context, rows_X2);
  if (expert_norms_.behind) y_TD = expert_norms_.behind(y_TD);
  if (shared_) y_TD = y_TD + through_shared(x_TD, context, mine ? mine->shared.get() : nullptr);
  if (b_out_D.defined()) y_TD = y_TD + b_out_D.to(y_TD.scalar_type());
  if (options_.output_scale != 1) y_TD = y_TD * options_.output_scale;
  return {y_TD.to(x_TD.scalar_type()), measure_balance(chosen, limited, context, rows_X2), routing};
}

std::optional<LayerContext> MoELayerImpl::drawn_step(const LayerContext& context) const {
  const int64_t K = options_.top_k, least = std::min(options_.least_top_k, K);
  if (!context.training || least == 0) return std::nullopt;
  // Seed, step and layer alone decide: the same on all ranks and in all micro-batches of a step.
  const RandomStream stream(context.random, Purpose::kRouting, kBudgetPart);
  const auto drawn = static_cast<int64_t>(stream.below(0, static_cast<uint64_t>(K - least + 1)));
  LayerContext out = context;
  out.budget *= static_cast<double>(least + drawn) / static_cast<double>(K);
  return out;
}

Tensor MoELayerImpl::through_shared(const Tensor& x_TD, const LayerContext& context,
                                    LayerState* state) {
  const Tensor in_TD = shared_norms_.before ? shared_norms_.before(x_TD) : x_TD;
  const Tensor y_TD = shared_->forward_tokens(in_TD, context, state).hidden_TD;
  return shared_norms_.behind ? shared_norms_.behind(y_TD) : y_TD;
}

Tensor MoELayerImpl::with_free_experts(const Tensor& x_TD, const Routing& routing,
                                       const LayerContext& context, Tensor& rows_X2) {
  const int64_t E = options_.num_experts, T = routing.tokens(), Z = free_experts();
  const Tensor real_N = routing.experts_N.lt(E);
  const Tensor none_N = at::zeros_like(routing.weights_N);
  Routing real = routing;  // whose other pairs nobody computes
  real.num_experts = E;
  real.experts_N = routing.experts_N.clamp_max(E);
  real.weights_N = at::where(real_N, routing.weights_N, none_N);
  // (T, Z) what each free expert weighs; pairs that are dropped weigh 0.
  const Tensor place_N = routing.tokens_N() * Z + (routing.experts_N - E).clamp(0, Z - 1);
  const Tensor weights_TZ = at::zeros({T * Z}, none_N.options())
                                .index_add(0, place_N, at::where(real_N, none_N, routing.weights_N))
                                .view({T, Z});
  const int64_t I = options_.identity_experts, C = options_.constant_experts;
  Tensor y_TD = through_experts(x_TD.to(context.compute_type(x_TD)), real, context, rows_X2);
  if (I > 0) y_TD = y_TD + x_TD * weights_TZ.slice(1, 0, I).sum(1, /*keepdim=*/true);
  if (C > 0) y_TD = y_TD + constant_experts_->forward(x_TD, weights_TZ.slice(1, Z - C));
  return y_TD;
}

Tensor MoELayerImpl::through_experts(const Tensor& x_TD, const Routing& routing,
                                     const LayerContext& context, Tensor& rows_X2) {
  const DispatchPlan plan = dispatcher_->plan(routing);
  rows_X2 = dispatch::rows_sent(plan, *layout_.experts);
  if (const auto pairs = dispatcher_->combination(routing, plan))
    return experts_->forward_combined(dispatcher_->dispatch(x_TD, routing, plan), *pairs, context);
  const auto experts = [&](const ExpertRows& rows) {
    if (experts_->shape().held() > 0) return experts_->forward(rows, context);
    return rows.source_SD.slice(0, 0, 0).sum().expand({0, experts_->shape().output()});
  };
  return dispatcher_->through(experts, x_TD, routing, plan, context);
}

Parameters MoELayerImpl::counted_experts() const {
  Parameters out = experts_->stacked_parameters();
  // Sums go over all ranks, and other ranks may hold the same experts: those of the first data rank
  // count, and of copies the owner's.
  for (auto& parameter : out) {
    Tensor& tensor = parameter.tensor;
    tensor = tensor.narrow(0, 0, own_rows(parameter));
    parameter.info.copies = 0;
    if (!layout_.first_copy()) tensor = at::zeros({}, tensor.options()).expand(tensor.sizes());
  }
  return out;
}

BalanceReport MoELayerImpl::measure_balance(const Routing& chosen, const Routing& limited,
                                            const LayerContext& context,
                                            const Tensor& rows_X2) const {
  for (const auto& weighted : balance_)
    check<ConfigError>(!weighted.term->drives_choices() || chosen.choices == 0, "layers/moe",
                       "expected beside the balance term '", weighted.name,
                       "' a router whose rule says how many experts a token gets, got '",
                       options_.router.kind, "', which gives each ", chosen.choices,
                       ". Set router.kind = \"relu\", or leave the term out.");
  balance::LayerWeights weights;
  // Reading all weights would slow inference, where nothing learns from the loss.
  const bool learns = context.training || at::GradMode::is_enabled();
  const bool read =
      learns && std::any_of(balance_.begin(), balance_.end(),
                            [](const auto& weighted) { return weighted.term->wants_weights(); });
  if (read) weights = {parameters_of(*router_), counted_experts()};
  return balance::measure(balance_,
                          {.routing = chosen,
                           .context = context,
                           .weights = read ? &weights : nullptr,
                           .dropped = limited.dropped(),
                           .rows_X2 = rows_X2},
                          *layout_.world);
}

void MoELayerImpl::end_step(const StepStatistics& statistics) {
  router_->end_step(statistics);
  for (const auto& weighted : balance_) weighted.term->end_step(statistics);
  waiting_ = {};
}

double MoELayerImpl::active_experts() const {
  const double real = static_cast<double>(options_.num_experts) / static_cast<double>(columns());
  return options_.capacity.active_experts(router_->active_experts()) * real;
}

double MoELayerImpl::active_share(const ParameterInfo& info) const {
  // What all experts share works for every token, and so do constant experts.
  if (info.part != Part::kExperts || !(info.per_expert || info.expert)) return 1;
  return std::min(1.0, active_experts() / static_cast<double>(options_.num_experts));
}

int64_t MoELayerImpl::flops_per_token() const {
  int64_t router = 0;
  for (const auto& parameter : router_->parameters())
    if (parameter.dim() >= 2) router += 2 * parameter.numel();
  const int64_t constant = constant_experts_ ? constant_experts_->flops_per_token() : 0;
  const double routed = active_experts() * static_cast<double>(experts_->flops_per_row());
  return router + constant + std::llround(routed) + (shared_ ? shared_->flops_per_token() : 0);
}

MOE_KIND(feed_forwards, moe, MoELayerImpl, MoELayerOptions)

}  // namespace moe::layers
