// T tokens, D model width, E experts, J experts of a token at most.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>

#include <moe/routing/finish.h>
#include <moe/routing/kinds/threshold.h>
#include <moe/routing/linear_router.h>

namespace moe {

void ThresholdRouter::validate(const std::string&) const {
  const char* place = "routing/threshold";
  check<ConfigError>(threshold >= 0 && threshold < 1, place, "expected threshold in [0, 1), got ",
                     threshold, ". Use 0 for 1 / num_experts.");
  check<ConfigError>(max_experts >= 0, place, "expected max_experts >= 0, got ", max_experts,
                     ". Use 0 for no limit.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// p = softmax(l); a token has its best expert and, best first, all others with p_e > threshold, no
/// more than max_experts; weight = p_e, or p_e over the sum of the chosen. Fewer than 1 / threshold
/// can be above it, which bounds the work without a limit. top_k has no meaning here. (GShard
/// as Mesh TensorFlow has it asks so of the second expert, Lepikhin et al. 2020; DynMoE learns one
/// threshold for each expert, Guo et al. 2024.)
class Threshold final : public LinearRouter {
 public:
  Threshold(const RouterShape& shape, const ThresholdRouter& options)
      : LinearRouter(shape, options.bias), options_(options) {
    const int64_t E = shape.num_experts;
    check<ConfigError>(options.max_experts <= E, "routing/threshold",
                       "expected max_experts in [0, num_experts=", E, "], got ",
                       options.max_experts, ". Use 0 for no limit.");
    if (options_.threshold == 0) options_.threshold = 1 / static_cast<double>(E);
    const auto above = static_cast<int64_t>(std::ceil(1 / options_.threshold));
    most_ = std::min(E, above);
    if (options.max_experts > 0) most_ = std::min(most_, options.max_experts);
    if (most_ == 1 && options.renormalise && E > 1)
      set_untrained(
          "[routing/threshold] one choice divided by its own sum weighs 1 for every "
          "token, so the task loss cannot train the router. Set renormalise = false, or "
          "raise max_experts.");
  }

  bool takes_top_k() const override { return false; }
  /// An upper bound: how many it takes lies with the tokens.
  double active_experts() const override { return static_cast<double>(most_); }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const ops::Choices choices = choose(x_TD, {.k = most_, .sum_to_one = false});
    return finish_best(choices, choices.weights_TK.gt(options_.threshold), options_.renormalise,
                       context);
  }

 private:
  ThresholdRouter options_;
  int64_t most_ = 0;
};

}  // namespace

MOE_KIND(routers, threshold, Threshold, ThresholdRouter)

}  // namespace moe::routing
