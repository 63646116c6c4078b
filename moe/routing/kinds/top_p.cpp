// T tokens, D model width, E experts, J experts of a token at most.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cumsum.h>

#include <moe/routing/finish.h>
#include <moe/routing/kinds/top_p.h>
#include <moe/routing/linear_router.h>

namespace moe {

void TopPRouter::validate(const std::string&) const {
  const char* place = "routing/top_p";
  check<ConfigError>(p > 0 && p <= 1, place, "expected p in (0, 1], got ", p,
                     ". Huang et al. use 0.4.");
  check<ConfigError>(max_experts >= 0, place, "expected max_experts >= 0, got ", max_experts,
                     ". Use 0 for no limit.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// Huang et al. 2024: with p_1 >= p_2 >= … the sorted softmax(l), a token has the experts 1 … k of
/// the least k with p_1 + … + p_k > p, and no more than max_experts; weight = p_i, or p_i over the
/// sum of the chosen. top_k has no meaning here. Their loss against tokens that take all experts is
/// the balance term token_entropy.
class TopP final : public LinearRouter {
 public:
  TopP(const RouterShape& shape, const TopPRouter& options)
      : LinearRouter(shape, options.bias), options_(options) {
    check<ConfigError>(options.max_experts <= shape.num_experts, "routing/top_p",
                       "expected max_experts in [0, num_experts=", shape.num_experts, "], got ",
                       options.max_experts, ". Use 0 for no limit.");
    most_ = options.max_experts > 0 ? options.max_experts : shape.num_experts;
    if (most_ == 1 && options.renormalise && shape.num_experts > 1)
      set_untrained(
          "[routing/top_p] one choice divided by its own sum weighs 1 for every token, "
          "so the task loss cannot train the router. Set renormalise = false, or raise "
          "max_experts.");
  }

  bool takes_top_k() const override { return false; }
  /// An upper bound: how many it takes lies with the tokens.
  double active_experts() const override { return static_cast<double>(most_); }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const ops::Choices choices = choose(x_TD, {.k = most_, .sum_to_one = false});
    return finish_best(choices,
                       at::cumsum(choices.weights_TK.detach(), 1).roll(1, 1).le(options_.p),
                       options_.renormalise, context);
  }

 private:
  TopPRouter options_;
  int64_t most_ = 0;
};

}  // namespace

MOE_KIND(routers, top_p, TopP, TopPRouter)

}  // namespace moe::routing
