// T tokens, D model width, P width of the projection, E experts, K choices per token.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>

#include <moe/ops/random_fill.h>
#include <moe/ops/sums.h>
#include <moe/routing/finish.h>
#include <moe/routing/softmax_rule.h>
#include <moe/routing/wide_linear.h>

namespace moe::routing {

namespace {

constexpr double kLeastTemperature = 0.01;
constexpr double kMostTemperature = 100;

struct CosineOptions {
  int64_t projection = 0;
  double temperature = 0.5;
  SoftmaxRule rule;

  template <class Visitor>
  void fields(Visitor& v) {
    v("projection", projection,
      "width in which tokens and experts are compared; 0: half the number of experts, at least 8");
    v("temperature", temperature,
      "where the learned temperature starts, in [0.01, 100], which it never leaves");
    rule.fields(v);
  }

  void validate(const std::string&) const {
    check<ConfigError>(projection >= 0, "routing/cosine", "expected projection >= 0, got ",
                       projection, ". Use 0 for the default.");
    check<ConfigError>(temperature >= kLeastTemperature && temperature <= kMostTemperature,
                       "routing/cosine", "expected temperature in [", kLeastTemperature, ", ",
                       kMostTemperature, "], got ", temperature, ". Tutel starts from 0.5.");
    rule.validate("routing/cosine");
  }
};

/// Rows of unit length; a row of zeros stays so. The largest element is divided out first, so that
/// no finite row overflows; being a constant factor it changes no gradient.
Tensor unit_rows(const Tensor& rows_RP) {
  const Tensor largest_R1 = at::amax(rows_RP.detach().abs(), {1}, /*keepdim=*/true);
  const Tensor near_one_RP = rows_RP / at::where(largest_R1.gt(0), largest_R1, 1.0);
  const Tensor length_R1 = at::linalg_vector_norm(near_one_RP, 2, {1}, /*keepdim=*/true);
  return near_one_RP / length_R1.clamp_min(0.5);  // at least 1, but for rows of zeros
}

/// R11: l_te = cos(W x_t, v_e) / tau, then R1.
///
/// Parameters: "weight" (E, P), the experts' embeddings v; "projection.weight" (P, D), W; and
/// "projection.scale" (1), which starts at 1: tau = temperature * exp(1 - scale) is learned through
/// it and kept in [0.01, 100]. The matrices start from fixed numbers, as that of LinearRouter.
class CosineRouter final : public Router {
 public:
  CosineRouter(const RouterShape& shape, const CosineOptions& options)
      : Router(shape), options_(options) {
    const int64_t D = shape.d_model, E = shape.num_experts;
    const int64_t P = options.projection > 0 ? options.projection : std::max<int64_t>(8, E / 2);
    Tensor start_EP = at::empty({E, P}, at::kFloat), start_PD = at::empty({P, D}, at::kFloat);
    ops::fill_normal_(start_EP, RandomStream(0, "router.weight"), 1);
    ops::fill_normal_(start_PD, RandomStream(0, "router.projection.weight"),
                      1 / std::sqrt(static_cast<double>(D)));
    weight_EP_ = register_parameter("weight", start_EP);
    const auto projection = register_module("projection", std::make_shared<torch::nn::Module>());
    projection_PD_ = projection->register_parameter("weight", start_PD);
    scale_ = projection->register_parameter("scale", at::ones({1}, at::kFloat));
    warn_if_constant(shape, options.rule.weights_sum_to_one(), "routing/cosine");
  }

  Routing forward(const Tensor& x_TD, const RoutingContext& context) override {
    check_input(x_TD, shape_);
    const auto type = wide_type(x_TD, weight_EP_);
    const Tensor token_TP = unit_rows(wide_linear(x_TD, projection_PD_));
    const Tensor cosine_TE = wide_linear(token_TP, unit_rows(weight_EP_.to(type)));
    const Tensor sharpness = (scale_.to(type) - 1 - std::log(options_.temperature))
                                 .clamp(-std::log(kMostTemperature), -std::log(kLeastTemperature))
                                 .exp();
    return choose_by_softmax(ops::scaled(cosine_TE, sharpness), shape_.top_k, options_.rule,
                             context);
  }

 private:
  CosineOptions options_;
  Tensor weight_EP_, projection_PD_, scale_;
};

}  // namespace

}  // namespace moe::routing

MOE_ROUTER(cosine, CosineRouter, CosineOptions)
