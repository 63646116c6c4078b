// T tokens, D width, E experts, K choices of a token, N = T·K pairs, G key-value heads, P width of
// a head, H = G·K query heads, Q = G·P.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <moe/balance/measure.h>
#include <moe/base/error.h>
#include <moe/dispatch/sorted_pairs.h>
#include <moe/layers/attend_sequences.h>
#include <moe/layers/linear.h>
#include <moe/layers/mixers/routed_attention.h>
#include <moe/ops/grouped.h>
#include <moe/parameters/list.h>

namespace moe {

void RoutedAttention::validate(const std::string& place) const {
  const auto key = [&](const char* name) { return detail::dotted(place, name); };
  for (const auto& [name, value] :
       {std::pair{"num_experts", num_experts}, std::pair{"kv_heads", kv_heads}})
    check<ConfigError>(value >= 1, "config", "expected '", key(name), "' of at least 1, got ",
                       value, ". Correct it.");
  check<ConfigError>(top_k >= 1 && top_k <= num_experts, "config", "expected '", key("top_k"),
                     "' in [1, num_experts=", num_experts, "], got ", top_k, ". Correct it.");
  check<ConfigError>(head_dim >= 0, "config", "expected '", key("head_dim"),
                     "' of at least 0, got ", head_dim, ". Correct it.");
  check<ConfigError>(dropout >= 0 && dropout < 1, "config", "expected '", key("dropout"),
                     "' in [0, 1), got ", dropout, ". Correct it.");
}

void RoutedAttention::resolve() {
  router.resolve();
  for (auto& term : balance) term.resolve();
}

}  // namespace moe

namespace moe::layers {

namespace {

constexpr const char* kPlaceOfRoutedAttention = "layers/routed_attention";

class RoutedAttentionMixer final : public Mixer {
 public:
  RoutedAttentionMixer(const MixerShape& shape, const RoutedAttention& options)
      : Mixer(shape.tensors), options_(options), causal_(shape.causal), world_(shape.layout.world) {
    auto& o = options_;
    const int64_t D = shape.d_model, E = o.num_experts, heads = o.top_k * o.kv_heads;
    check<ConfigError>(o.head_dim > 0 || D % heads == 0, kPlaceOfRoutedAttention,
                       "expected d_model to be a multiple of top_k · kv_heads, got ", D, " and ",
                       heads, ". Change one of them, or set head_dim.");
    if (o.head_dim == 0) o.head_dim = D / heads;
    check<ConfigError>(o.head_dim > 0 && turning() % 2 == 0, kPlaceOfRoutedAttention,
                       "expected an even head width to turn, got ", turning(), " of ", o.head_dim,
                       ". Set head_dim.");
    const int64_t Q = o.kv_heads * o.head_dim;
    router_ = register_module(
        "router", o.router.make(routing::RouterShape{
                      .d_model = D, .num_experts = E, .top_k = o.top_k, .tensors = shape.tensors}));
    check<ConfigError>(router_->takes_top_k() && !router_->looks_ahead(), kPlaceOfRoutedAttention,
                       "expected a router that gives every token top_k experts by itself, got '",
                       o.router.kind, "'. Use another router, such as topk.");
    check<ConfigError>(router_->buffers().empty(), kPlaceOfRoutedAttention,
                       "expected a router without state, which nothing moves between steps here, "
                       "got '",
                       o.router.kind, "' with a selection bias. Leave the bias out, or use topk.");
    check<ConfigError>(
        o.router.kind != "gating_residual", kPlaceOfRoutedAttention,
        "expected a router that looks at its own layer alone, got 'gating_residual', "
        "whose logits go from one feed_forward to the next. Use topk.");
    for (const auto& spec : o.balance) add_balance_term(spec);
    w_q = add_parameter("w_q", {E, Q, D}, {.per_expert = true});
    w_k = add_parameter("w_k", {Q, D}, {});
    w_v = add_parameter("w_v", {Q, D}, {});
    w_o = add_parameter("w_o", {E, D, Q}, {.per_expert = true, .residual = true});
    if (o.output_bias) b_o = add_parameter("b_o", {D}, {.role = Role::kBias});
  }

  Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) override {
    const int64_t T = x_TD.size(0), G = options_.kv_heads, P = options_.head_dim,
                  K = options_.top_k;
    Sequences sequences = context.tokens.sequences;
    if (sequences.count() == 0) sequences = Sequences::equal(1, T);
    check(sequences.tokens() == T, kPlaceOfRoutedAttention, "expected sequences of the call's ", T,
          " tokens, got ", sequences.tokens(), ". Describe exactly the tokens that are passed.");
    const auto type = context.compute_type(x_TD);
    const Tensor x = x_TD.to(type);
    const Routing routing = router_->forward(x_TD, context);
    check(routing.choices == K, kPlaceOfRoutedAttention,
          "expected a router that gives every token ", K, " experts, got '", options_.router.kind,
          "', which leaves some out. Use topk.");
    report_balance(routing, context);
    const DispatchPlan plan =
        dispatch::sort_pairs(routing, options_.num_experts, kPlaceOfRoutedAttention);
    // Query heads of one key-value head stand side by side: head g·K + k is head g of choice k.
    const Tensor q_RQ =
        ops::grouped_matmul(x, plan.token_N, plan.offsets_E, w_q.to(type), Tensor());
    Tensor q_THP = ops::gather_rows(q_RQ, plan.position_N)
                       .view({T, K, G, P})
                       .transpose(1, 2)
                       .reshape({T, G * K, P});
    Tensor k_TGP = linear(x, w_k, {}, type).view({T, G, P});
    const Tensor v_TGP = linear(x, w_v, {}, type).view({T, G, P});
    if (turning() > 0) {
      const auto table = rope_table(options_.rope, sequences, P, q_THP.options());
      q_THP = ops::rope(q_THP, table);
      k_TGP = ops::rope(k_TGP, table);
    }
    AttendOptions attending = {.causal = causal_};
    // Recomputation runs the same pass without gradients first, and must get the same numbers.
    attending.learns = context.training || at::GradMode::is_enabled();
    attending.dropout = context.training ? options_.dropout : 0;
    attending.random = context.random;
    const Tensor o_THP = state
                             ? attend_with_state(q_THP, k_TGP, v_TGP, sequences, attending, *state)
                             : attend_sequences(q_THP, k_TGP, v_TGP, sequences.runs,
                                                context.tokens.first_token, attending);
    const Tensor o_NQ = o_THP.reshape({T, G, K, P}).transpose(1, 2).reshape({T * K, G * P});
    const Tensor y_RD =
        ops::grouped_matmul(o_NQ, plan.pair_N, plan.offsets_E, w_o.to(type), Tensor());
    const Tensor y_TD = ops::combine_rows(y_RD, dispatch::combination_of(routing, plan)).to(type);
    return b_o.defined() ? y_TD + b_o.to(type) : y_TD;
  }

  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override {
    check(causal_, kPlaceOfRoutedAttention,
          "expected a causal model to go on from a state, got one whose tokens see what comes "
          "after them. Read the whole sequence in one call.");
    return std::make_unique<KeyValueState>(options_.kv_heads, options_.head_dim, options_.head_dim,
                                           Reach{}, shape);
  }

  bool balances() const override { return !terms_.empty(); }

  void among(int64_t routing_blocks) override {
    for (size_t i = 0; i < terms_.size(); ++i)
      terms_[i].coefficient = options_.balance[i].own_coefficient(term_shape(), routing_blocks);
  }

  double active_share(const ParameterInfo& info) const override {
    const bool routed = info.per_expert && info.role == Role::kMatrix;
    return routed ? static_cast<double>(options_.top_k) / static_cast<double>(options_.num_experts)
                  : 1;
  }
  int64_t flops_over_keys(int64_t keys) const override {
    return 4 * options_.top_k * options_.kv_heads * options_.head_dim * keys;
  }
  int64_t state_numbers(int64_t positions) const override {
    return 2 * options_.kv_heads * options_.head_dim * positions;
  }

 private:
  balance::TermShape term_shape() const {
    return {.num_experts = options_.num_experts, .top_k = options_.top_k, .tensors = tensors()};
  }

  void add_balance_term(const BalanceSpec& spec) {
    const std::string name = concat("attention_", spec.kind);
    for (const auto& other : terms_)
      check<ConfigError>(other.name != name, kPlaceOfRoutedAttention,
                         "expected one balance term of a kind, got two '", spec.kind,
                         "'. Leave one out.");
    const auto term = spec.make(term_shape());
    const Value* const scope = spec.options.find("scope");
    const bool over_step =
        scope && scope->as<std::string>() && *scope->as<std::string>() == "global";
    check<ConfigError>(!over_step && term->buffers().empty(), kPlaceOfRoutedAttention,
                       "expected balance terms of a micro-batch, got '", spec.kind,
                       over_step ? "' of scope \"global\". Set scope = \"batch\"."
                                 : "' with state between steps. Use another term.");
    terms_.push_back({name, spec.own_coefficient(term_shape(), 1),
                      register_module("balance_" + spec.kind, term)});
  }

  /// Puts the values of the balance terms where the block asks for them.
  void report_balance(const Routing& routing, const LayerContext& context) const {
    if (terms_.empty() || !context.mixer_terms) return;
    LayerContext own = context;  // what earlier micro-batches added up is of the feed-forward
    own.sums_so_far = {};
    own.counts_so_far_E = Tensor();
    balance::LayerWeights weights;
    weights.router = parameters_of(*router_);
    for (const auto& parameter : parameters_of(*this))
      if (parameter.info.per_expert && parameter.info.part != Part::kRouter)
        weights.experts.push_back(parameter);
    const bool learns = context.training || at::GradMode::is_enabled();
    const BalanceReport report = balance::measure(
        terms_, {.routing = routing, .context = own, .weights = learns ? &weights : nullptr},
        *world_);
    for (const auto& term : report.terms) context.mixer_terms->push_back(term);
  }

  /// Numbers of a head that rotary positions rotate.
  int64_t turning() const { return turning_width(options_.rope, options_.head_dim); }

  RoutedAttention options_;
  bool causal_;
  std::shared_ptr<parallel::Communicator> world_;
  std::shared_ptr<routing::Router> router_;
  std::vector<balance::WeightedTerm> terms_;
  Tensor w_q, w_k, w_v, w_o, b_o;
};

}  // namespace

MOE_KIND(mixers, routed_attention, RoutedAttentionMixer, RoutedAttention)

}  // namespace moe::layers
