// T tokens, D model width, E experts, G groups of tokens.
#include <cmath>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sigmoid.h>

#include <moe/ops/order.h>
#include <moe/routing/balanced_assignment.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/base.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/token_groups.h>

namespace moe {

void BaseRouter::validate(const std::string&) const {
  check_one_of("routing/base", "group", group, {"sequence", "batch"});
  check<ConfigError>(std::isfinite(epsilon) && epsilon > 0 && epsilon <= 1, "routing/base",
                     "expected epsilon in (0, 1], got ", epsilon,
                     ". Smaller is nearer to the best assignment, and slower.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// BASE layers (Lewis et al. 2021, arXiv 2103.16716): in training the tokens of a group go to
/// experts so that every expert gets floor or ceil of T/E of them and the sum of their logits is as
/// large as can be (balanced_assignment.h); evaluation takes the largest logit. One expert a token,
/// weight sigmoid(l), through which alone the router learns. scores_TE is sigmoid(l).
///
/// With group = "batch" every rank gathers all ranks' logits and solves the same problem, so that
/// the result does not depend on their number (the paper shuffles tokens over ranks instead and
/// solves a problem on each). In training a token's expert depends on the others of its group,
/// later ones too, as in the paper; in evaluation on itself alone.
class Base final : public LinearRouter {
 public:
  Base(const RouterShape& shape, const BaseRouter& options)
      : LinearRouter(shape, options.bias),
        whole_batch_(options.group == "batch"),
        rule_{.epsilon = options.epsilon} {
    check<ConfigError>(shape.top_k == 1, "routing/base", "expected top_k = 1, got ", shape.top_k,
                       ". BASE gives a token one expert; use sinkhorn for more.");
  }

  bool shares_out_evenly() const override { return true; }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const Tensor logits_TE = logits(x_TD), scores_TE = at::sigmoid(logits_TE);
    const Tensor experts_T1 = context.training ? assign(logits_TE.detach(), context)
                                               : ops::topk(logits_TE.detach(), 1).second;
    return finish_fixed(experts_T1, scores_TE.gather(1, experts_T1), logits_TE, scores_TE, context);
  }

 private:
  /// (T, 1) int64.
  Tensor assign(const Tensor& logits_TE, const LayerContext& context) const {
    const TokenGroups groups(logits_TE, whole_batch_, context.tokens, *shape_.group);
    const int64_t E = shape_.num_experts;
    Tensor experts_T = at::empty({groups.values().size(0)}, at::kLong);
    int64_t* const experts = experts_T.mutable_data_ptr<int64_t>();
    const float* const scores = groups.values().const_data_ptr<float>();
    at::parallel_for(0, groups.runs().count(), 1, [&](int64_t first, int64_t last) {
      for (int64_t g = first; g < last; ++g) {
        const int64_t begin = groups.runs().begin(g);
        const auto found =
            balanced_assignment(scores + begin * E, groups.runs().length(g), E, rule_);
        std::copy(found.begin(), found.end(), experts + begin);
      }
    });
    return groups.own(experts_T).unsqueeze(1).to(logits_TE.device());
  }

  bool whole_batch_;
  AuctionRule rule_;
};

}  // namespace

MOE_KIND(routers, base, Base, BaseRouter)

}  // namespace moe::routing
