// T tokens, D model width, E experts, K choices per token, G groups of S experts, N = K / G choices
// in each.
#include <cmath>
#include <numeric>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/softmax.h>

#include <moe/ops/order.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/grouped_topk.h>
#include <moe/routing/linear_router.h>

namespace moe {

void GroupedTopKRouter::validate(const std::string&) const {
  const char* place = "routing/grouped_topk";
  check<ConfigError>(groups >= 0, place, "expected groups >= 0, got ", groups,
                     ". Use 0 for as many as divide experts and choices evenly.");
  check<ConfigError>(std::isfinite(scale), place, "expected a finite scale, got ", scale,
                     ". Correct it.");
}

}  // namespace moe

namespace moe::routing {

namespace {

constexpr const char* kPlaceOfGroupedTopK = "routing/grouped_topk";

/// Mixture of grouped experts (Tang et al. 2025, Pangu Pro MoE): p = softmax(l) over all experts;
/// of each group g, the experts [g S, (g+1) S), the K/G largest are chosen; weight = p, or p over
/// its sum among the chosen, times scale. Every group has the same work whatever the tokens are, so
/// that devices with a group each wait for none. A token's pairs stand by falling weight.
///
/// (A group limit, as of topk, does the opposite: it confines a token to few groups.)
class GroupedTopK final : public LinearRouter {
 public:
  GroupedTopK(const RouterShape& shape, const GroupedTopKRouter& options)
      : LinearRouter(shape, options.bias), options_(options) {
    const int64_t E = shape.num_experts, K = shape.top_k;
    groups_ = options.groups > 0 ? options.groups : std::gcd(E, K);
    check<ConfigError>(E % groups_ == 0 && K % groups_ == 0, kPlaceOfGroupedTopK,
                       "expected groups that divide num_experts=", E, " and top_k=", K, ", got ",
                       groups_, ". Choose a common divisor, or 0.");
    set_untrained(
        why_constant(shape, options.renormalise, kPlaceOfGroupedTopK, "renormalise = false"));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const Tensor logits_TE = logits(x_TD);
    const int64_t T = x_TD.size(0), E = shape_.num_experts, K = shape_.top_k, G = groups_;
    const Tensor ranked_GS = logits_TE.detach().reshape({T * G, E / G});
    const Tensor first_G1 =
        (at::arange(G, ranked_GS.options().dtype(at::kLong)) * (E / G)).unsqueeze(1);
    const Tensor chosen_TK =
        (ops::topk(ranked_GS, K / G).second.view({T, G, K / G}) + first_G1).reshape({T, K});
    const Tensor order_TK = ops::topk(at::gather(logits_TE.detach(), 1, chosen_TK), K).second;
    const Tensor experts_TK = at::gather(chosen_TK, 1, order_TK);
    const Tensor scores_TE = at::softmax(logits_TE, 1);
    const Tensor weights_TK = options_.renormalise
                                  ? at::softmax(at::gather(logits_TE, 1, experts_TK), 1)
                                  : at::gather(scores_TE, 1, experts_TK);
    Routing routing =
        finish_fixed(experts_TK, weights_TK * options_.scale, logits_TE, scores_TE, context);
    routing.weights_are_shares = options_.renormalise;
    return routing;
  }

 private:
  GroupedTopKRouter options_;
  int64_t groups_ = 0;
};

}  // namespace

MOE_KIND(routers, grouped_topk, GroupedTopK, GroupedTopKRouter)

}  // namespace moe::routing
