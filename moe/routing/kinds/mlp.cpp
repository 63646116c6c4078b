// T tokens, D model width, H hidden units, E experts, K choices per token.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/relu.h>

#include <moe/ops/random_fill.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/mlp.h>
#include <moe/routing/softmax_rule.h>
#include <moe/routing/wide_linear.h>

namespace moe {

void MlpRouter::validate(const std::string&) const {
  const char* place = "routing/mlp";
  check<ConfigError>(hidden >= 0, place, "expected hidden >= 0, got ", hidden,
                     ". Use 0 for d_model.");
  check<ConfigError>(dropout >= 0 && dropout < 1, place, "expected dropout in [0, 1), got ",
                     dropout, ". Correct it.");
  routing::SoftmaxRule::of(*this).validate(place);
  routing::TemperatureSchedule::of(*this).validate(place);
}

}  // namespace moe

namespace moe::routing {

namespace {

struct HiddenLayer final : Module {
  HiddenLayer(int64_t D, int64_t H, const at::TensorOptions& tensors) : Module(tensors) {
    w_in_HD = add_parameter("w_in", {H, D}, {.role = Role::kMatrix});
    b_in_H = add_parameter("b_in", {H}, {.role = Role::kBias});
  }

  Tensor w_in_HD, b_in_H;
};

/// l = W relu(W_in x + b_in) + b, dropout on l in training, then SoftmaxRule on l / temperature.
///
/// Parameters: "weight" (E, H) and "bias" (E); "hidden.w_in" (H, D) and "hidden.b_in" (H).
/// logits_TE is l before the dropout, whose numbers depend on seed, step, layer and the token's
/// global number.
class Mlp final : public Router {
 public:
  Mlp(const RouterShape& shape, const MlpRouter& options)
      : Router(shape),
        rule_(SoftmaxRule::of(options)),
        temperature_(TemperatureSchedule::of(options)),
        dropout_(options.dropout) {
    const int64_t D = shape.d_model, E = shape.num_experts;
    const int64_t H = options.hidden > 0 ? options.hidden : D;
    weight_EH_ = add_parameter("weight", {E, H}, {.role = Role::kScores, .per_expert = true});
    bias_E_ = add_parameter("bias", {E}, {.role = Role::kBias, .per_expert = true});
    hidden_ = register_module("hidden", std::make_shared<HiddenLayer>(D, H, tensors()));
    set_untrained(why_constant(shape, rule_.weights_sum_to_one(), "routing/mlp",
                               rule_.settings_of_raw_weights()));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const Tensor hidden_TH = at::relu(wide_linear(x_TD, hidden_->w_in_HD, hidden_->b_in_H));
    const Tensor logits_TE = wide_linear(hidden_TH, weight_EH_, bias_E_);
    Routing routing = choose_by_softmax(dropped_out(logits_TE, context) / temperature_.at(context),
                                        shape_.top_k, rule_, context);
    routing.logits_TE = logits_TE;
    return routing;
  }

 private:
  Tensor dropped_out(const Tensor& logits_TE, const LayerContext& context) const {
    if (!context.training || dropout_ == 0) return logits_TE;
    const int64_t first = context.tokens.first_token;
    const Tensor token_T =
        at::arange(first, first + logits_TE.size(0), logits_TE.options().dtype(at::kLong));
    const RandomStream stream(context.random, Purpose::kRouting);
    return logits_TE *
           ops::dropout_mask(token_T, logits_TE.size(1), dropout_, stream, logits_TE.scalar_type());
  }

  SoftmaxRule rule_;
  TemperatureSchedule temperature_;
  double dropout_;
  Tensor weight_EH_, bias_E_;
  std::shared_ptr<HiddenLayer> hidden_;
};

}  // namespace

MOE_KIND(routers, mlp, Mlp, MlpRouter)

}  // namespace moe::routing
