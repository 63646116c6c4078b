// T tokens, D model width, P width of the projection, E experts, K choices per token.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>

#include <moe/ops/sums.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/cosine.h>
#include <moe/routing/softmax_rule.h>
#include <moe/routing/wide_linear.h>

namespace moe {

namespace {

constexpr double kLeastTemperature = 0.01;
constexpr double kMostTemperature = 100;

}  // namespace

void CosineRouter::validate(const std::string&) const {
  check<ConfigError>(projection >= 0, "routing/cosine", "expected projection >= 0, got ",
                     projection, ". Use 0 for the default.");
  check<ConfigError>(temperature >= kLeastTemperature && temperature <= kMostTemperature,
                     "routing/cosine", "expected temperature in [", kLeastTemperature, ", ",
                     kMostTemperature, "], got ", temperature, ". Tutel starts from 0.5.");
  routing::SoftmaxRule::of(*this).validate("routing/cosine");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// What tokens pass before they are compared with experts.
struct Projection final : Module {
  Projection(int64_t D, int64_t P, const at::TensorOptions& tensors) : Module(tensors) {
    weight_PD = add_parameter("weight", {P, D}, {.role = Role::kScores});
    scale = add_parameter("scale", {1}, {.role = Role::kScale});
  }

  Tensor weight_PD, scale;
};

/// l_te = cos(W x_t, v_e) / tau, then SoftmaxRule.
///
/// Parameters: "weight" (E, P), the experts' embeddings v; "projection.weight" (P, D), W; and
/// "projection.scale" (1), which starts at 1: tau = temperature * exp(1 - scale) is learned through
/// it and kept in [0.01, 100].
class Cosine final : public Router {
 public:
  Cosine(const RouterShape& shape, const CosineRouter& options)
      : Router(shape), rule_(SoftmaxRule::of(options)), temperature_(options.temperature) {
    const int64_t D = shape.d_model, E = shape.num_experts;
    const int64_t P = options.projection > 0 ? options.projection : std::max<int64_t>(8, E / 2);
    weight_EP_ = add_parameter("weight", {E, P}, {.role = Role::kScores, .per_expert = true});
    projection_ = register_module("projection", std::make_shared<Projection>(D, P, tensors()));
    set_untrained(why_constant(shape, rule_.weights_sum_to_one(), "routing/cosine",
                               rule_.settings_of_raw_weights()));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const auto type = wide_type(x_TD, weight_EP_);
    const Tensor token_TP = unit_rows(wide_linear(x_TD, projection_->weight_PD));
    const Tensor cosine_TE = wide_linear(token_TP, unit_rows(weight_EP_.to(type)));
    const Tensor sharpness = (projection_->scale.to(type) - 1 - std::log(temperature_))
                                 .clamp(-std::log(kMostTemperature), -std::log(kLeastTemperature))
                                 .exp();
    return choose_by_softmax(ops::scaled(cosine_TE, sharpness), shape_.top_k, rule_, context);
  }

 private:
  SoftmaxRule rule_;
  double temperature_;
  Tensor weight_EP_;
  std::shared_ptr<Projection> projection_;
};

}  // namespace

MOE_KIND(routers, cosine, Cosine, CosineRouter)

}  // namespace moe::routing
