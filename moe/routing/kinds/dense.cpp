// T tokens, D model width, E experts.
#include <ATen/ops/arange.h>
#include <ATen/ops/softmax.h>

#include <moe/routing/finish.h>
#include <moe/routing/kinds/dense.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/softmax_rule.h>

namespace moe::routing {

namespace {

/// Jacobs et al. 1991: every expert, in the order of ids, weighted by softmax(l). top_k has no
/// meaning here. With a budget below 1 they stand by falling weight.
class Dense final : public LinearRouter {
 public:
  Dense(const RouterShape& shape, const DenseRouter& options) : LinearRouter(shape, options.bias) {}

  bool takes_top_k() const override { return false; }
  double active_experts() const override { return static_cast<double>(shape_.num_experts); }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    if (context.budget < 1)
      return routing_of(choose(x_TD, {.k = shape_.num_experts}), {.renormalise = true}, context);
    const Tensor logits_TE = logits(x_TD);
    const Tensor scores_TE = at::softmax(logits_TE, 1);
    const Tensor experts_E = at::arange(shape_.num_experts, logits_TE.options().dtype(at::kLong));
    return finish_fixed(experts_E.expand(logits_TE.sizes()), scores_TE, logits_TE, scores_TE,
                        context);
  }
};

}  // namespace

MOE_KIND(routers, dense, Dense, DenseRouter)

}  // namespace moe::routing
