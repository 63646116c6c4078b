// T tokens, D model width, H hidden units, E experts, K choices per token.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/random_fill.h>
#include <moe/routing/finish.h>
#include <moe/routing/softmax_rule.h>
#include <moe/routing/wide_linear.h>

namespace moe::routing {

namespace {

struct MlpOptions {
  int64_t hidden = 0;
  double dropout = 0;
  SoftmaxRule rule;
  TemperatureSchedule temperature;

  template <class Visitor>
  void fields(Visitor& v) {
    v("hidden", hidden, "hidden units; 0: d_model");
    v("dropout", dropout, "share of the logits set to 0 in training, in [0, 1)");
    rule.fields(v);
    temperature.fields(v);
  }

  void validate(const std::string&) const {
    const char* place = "routing/mlp";
    check<ConfigError>(hidden >= 0, place, "expected hidden >= 0, got ", hidden,
                       ". Use 0 for d_model.");
    check<ConfigError>(dropout >= 0 && dropout < 1, place, "expected dropout in [0, 1), got ",
                       dropout, ". Lower it.");
    rule.validate(place);
    temperature.validate(place);
  }
};

/// R10: l = W relu(W_in x + b_in) + b, dropout on l in training, then R1 on l / temperature.
///
/// Parameters: "weight" (E, H) and "bias" (E); "hidden.w_in" (H, D) and "hidden.b_in" (H). All
/// start from fixed numbers, as those of LinearRouter. logits_TE is l before the dropout, whose
/// numbers depend on seed, step, layer and the token's global number.
class MlpRouter final : public Router {
 public:
  MlpRouter(const RouterShape& shape, const MlpOptions& options)
      : Router(shape), options_(options) {
    const int64_t D = shape.d_model, E = shape.num_experts;
    const int64_t H = options.hidden > 0 ? options.hidden : D;
    const auto matrix = [](int64_t outputs, int64_t inputs, const char* name) {
      Tensor start_OI = at::empty({outputs, inputs}, at::kFloat);
      ops::fill_normal_(start_OI, RandomStream(0, name),
                        1 / std::sqrt(static_cast<double>(inputs)));
      return start_OI;
    };
    weight_EH_ = register_parameter("weight", matrix(E, H, "router.weight"));
    bias_E_ = register_parameter("bias", at::zeros({E}, at::kFloat));
    const auto hidden = register_module("hidden", std::make_shared<torch::nn::Module>());
    w_in_HD_ = hidden->register_parameter("w_in", matrix(H, D, "router.hidden.w_in"));
    b_in_H_ = hidden->register_parameter("b_in", at::zeros({H}, at::kFloat));
    warn_if_constant(shape, options.rule.weights_sum_to_one(), "routing/mlp");
  }

  Routing forward(const Tensor& x_TD, const RoutingContext& context) override {
    check_input(x_TD, shape_);
    const Tensor hidden_TH = at::relu(wide_linear(x_TD, w_in_HD_, b_in_H_));
    const Tensor logits_TE = wide_linear(hidden_TH, weight_EH_, bias_E_);
    Routing routing =
        choose_by_softmax(dropped_out(logits_TE, context) / options_.temperature.at(context),
                          shape_.top_k, options_.rule, context);
    routing.logits_TE = logits_TE;
    return routing;
  }

 private:
  Tensor dropped_out(const Tensor& logits_TE, const RoutingContext& context) const {
    if (!context.training || options_.dropout == 0) return logits_TE;
    const Tensor token_T = at::arange(context.first_token, context.first_token + logits_TE.size(0),
                                      logits_TE.options().dtype(at::kLong));
    const RandomStream stream(context.random, Purpose::kRouting);
    return logits_TE * ops::dropout_mask(token_T, logits_TE.size(1), options_.dropout, stream,
                                         logits_TE.scalar_type());
  }

  MlpOptions options_;
  Tensor w_in_HD_, b_in_H_, weight_EH_, bias_E_;
};

}  // namespace

}  // namespace moe::routing

MOE_ROUTER(mlp, MlpRouter, MlpOptions)
