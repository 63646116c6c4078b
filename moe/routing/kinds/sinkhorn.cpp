// T tokens, D model width, E experts, K choices per token, G groups of tokens.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>

#include <moe/ops/order.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/sinkhorn.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/sinkhorn.h>

namespace moe {

void SinkhornRouter::validate(const std::string&) const {
  const char* place = "routing/sinkhorn";
  check_one_of(place, "group", group, {"sequence", "batch"});
  check_one_of(place, "weight", weight, {"auto", "softmax", "sigmoid"});
  check<ConfigError>(iterations >= 1 && iterations <= 10000, place,
                     "expected iterations in [1, 10000], got ", iterations, ". Correct it.");
  check<ConfigError>(std::isfinite(tolerance) && tolerance >= 0, place,
                     "expected tolerance to be finite and at least 0, got ", tolerance,
                     ". Use 0 for all iterations.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// S-BASE (Clark et al. 2022, arXiv 2202.01169) as Megatron-LM has it: in training a token goes to
/// the K experts with the largest share of it in the transport plan pi_te = exp(l_te + f_t + g_e)
/// whose rows and columns have even sums (sinkhorn.h), which no gradient passes; evaluation takes
/// the K largest l. Weights are of l alone: softmax over all experts, or sigmoid. scores_TE is the
/// same of all experts.
///
/// With group = "batch" one plan spans all ranks: its column sums are added over them. In training
/// a token's experts depend on the others of its group, later ones too; in evaluation on itself
/// alone.
class SinkhornTopK final : public LinearRouter {
 public:
  SinkhornTopK(const RouterShape& shape, const SinkhornRouter& options)
      : LinearRouter(shape, options.bias),
        whole_batch_(options.group == "batch"),
        sigmoid_(options.weight == "auto" ? shape.top_k == 1 : options.weight == "sigmoid"),
        rule_{.iterations = options.iterations, .tolerance = options.tolerance} {}

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const Tensor logits_TE = logits(x_TD);
    const Tensor scores_TE = sigmoid_ ? at::sigmoid(logits_TE) : at::softmax(logits_TE, 1);
    const Tensor plan_TE =
        context.training ? shifted(logits_TE.detach(), context) : logits_TE.detach();
    const Tensor experts_TK = ops::topk(plan_TE, shape_.top_k).second;
    return finish_fixed(experts_TK, scores_TE.gather(1, experts_TK), logits_TE, scores_TE, context);
  }

 private:
  /// (T, E) l + g, which orders a token's experts as its row of the plan does.
  Tensor shifted(const Tensor& logits_TE, const LayerContext& context) const {
    const int64_t E = shape_.num_experts;
    const Tensor own_TE = logits_TE.to(at::kCPU, at::kFloat).contiguous();
    const float* const l = own_TE.const_data_ptr<float>();
    const Runs groups =
        whole_batch_ ? Runs::equal(1, own_TE.size(0)) : context.tokens.rows(own_TE.size(0));
    auto* const ranks = whole_batch_ ? shape_.group.get() : nullptr;
    Tensor shifted_TE = at::empty_like(own_TE);
    float* const out = shifted_TE.mutable_data_ptr<float>();
    for (int64_t g = 0; g < groups.count(); ++g) {
      const int64_t begin = groups.begin(g), end = groups.end(g);
      const auto potentials = sinkhorn_potentials(l + begin * E, end - begin, E, rule_, ranks);
      for (int64_t t = begin; t < end; ++t)
        for (int64_t e = 0; e < E; ++e)
          out[t * E + e] = l[t * E + e] + potentials[static_cast<size_t>(e)];
    }
    return shifted_TE.to(logits_TE.device());
  }

  bool whole_batch_, sigmoid_;
  SinkhornRule rule_;
};

}  // namespace

MOE_KIND(routers, sinkhorn, SinkhornTopK, SinkhornRouter)

}  // namespace moe::routing
