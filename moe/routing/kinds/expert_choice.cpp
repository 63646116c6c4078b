// T tokens, D model width, E experts, G groups of S tokens, N pairs.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/where.h>

#include <moe/ops/rounding.h>
#include <moe/routing/finish.h>
#include <moe/routing/linear_router.h>

namespace moe::routing {

namespace {

struct ExpertChoiceOptions {
  double capacity_factor = 0;
  std::string group = "sequence";
  std::string rounding = "ceil";
  bool allow_future = false;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("capacity_factor", capacity_factor,
      "mean number of experts per token: C = capacity_factor * S / E; 0: top_k");
    v("group", group,
      "experts choose among the tokens of a \"sequence\" or of the whole \"batch\" of a call");
    v("rounding", rounding, "of C: \"ceil\", \"floor\" or \"nearest\"");
    v("allow_future", allow_future,
      "serve causal models, although a token's experts then depend on later tokens");
    v("bias", bias, "add a learned bias to the logits");
  }

  void validate(const std::string&) const {
    check_one_of("routing/expert_choice", "group", group, {"sequence", "batch"});
    check_one_of("routing/expert_choice", "rounding", rounding, ops::rounding_modes());
    check<ConfigError>(capacity_factor >= 0, "routing/expert_choice",
                       "expected capacity_factor >= 0, got ", capacity_factor,
                       ". Use 0 for top_k.");
  }
};

/// R7 (Zhou et al. 2022): p = softmax(l) over experts; within each group, expert e takes the C =
/// capacity_factor * S / E tokens with the largest p_te, weight p_te, where S counts the group's
/// real tokens.
///
/// A token has 0 to E experts, in the order of ids. Ties go to the earlier token; padding is never
/// chosen. With group = "batch" the result depends on what else is in the call, so on micro-batches
/// and ranks too.
class ExpertChoiceRouter final : public LinearRouter {
 public:
  ExpertChoiceRouter(const RouterShape& shape, const ExpertChoiceOptions& options)
      : LinearRouter(shape, options.bias), options_(options) {
    if (options_.capacity_factor == 0) options_.capacity_factor = static_cast<double>(shape.top_k);
  }

  double experts_per_token() const override { return options_.capacity_factor; }

  Routing forward(const Tensor& x_TD, const RoutingContext& context) override {
    check<ConfigError>(
        !context.causal || options_.allow_future, "routing/expert_choice",
        "expected a model that may look ahead, got a causal one: a token's experts depend on later "
        "tokens. Choose another router, or set allow_future = true and accept the leak.");
    const Tensor logits_TE = logits(x_TD);
    const Tensor scores_TE = at::softmax(logits_TE, 1);
    const int64_t T = x_TD.size(0), E = shape_.num_experts;
    check_padding(context, T);
    const Tensor chosen_TE = choose(scores_TE.detach(), context);
    const Tensor experts_TE = at::arange(E, chosen_TE.options().dtype(at::kLong)).expand({T, E});
    return finish_ragged(experts_TE, scores_TE, chosen_TE, logits_TE, scores_TE, context);
  }

 private:
  /// (T, E) bool: whether the rank of token t among its group's, for expert e, is below the
  /// expert's capacity.
  Tensor choose(const Tensor& scores_TE, const RoutingContext& context) const {
    const int64_t T = scores_TE.size(0), E = shape_.num_experts;
    const int64_t S =
        options_.group == "sequence" ? context.tokens_per_sequence(T) : std::max<int64_t>(T, 1);
    const int64_t G = T / S;
    const auto ids = scores_TE.options().dtype(at::kLong);
    const Tensor valid_GS = context.valid_T.defined() ? context.valid_T.reshape({G, S})
                                                      : at::ones({G, S}, ids.dtype(at::kBool));
    const Tensor valid_GS1 = valid_GS.unsqueeze(2);
    // NaN ranks below every probability, padding below NaN.
    const Tensor known_GSE = at::nan_to_num(scores_TE, -1.0).reshape({G, S, E});
    const Tensor ranked_GSE = at::where(valid_GS1, known_GSE, -2.0);
    const Tensor order_GSE =
        std::get<1>(at::sort(ranked_GSE, /*stable=*/true, /*dim=*/1, /*descending=*/true));
    Tensor rank_GSE = at::empty_like(order_GSE);
    rank_GSE.scatter_(1, order_GSE, at::arange(S, ids).reshape({1, S, 1}).expand({G, S, E}));
    const Tensor exact_G =
        valid_GS.sum(1).to(at::kDouble) * options_.capacity_factor / static_cast<double>(E);
    const Tensor capacity_G11 = ops::rounded(exact_G, options_.rounding).reshape({G, 1, 1});
    return rank_GSE.lt(capacity_G11).logical_and(valid_GS1).reshape({T, E});
  }

  ExpertChoiceOptions options_;
};

}  // namespace

}  // namespace moe::routing

MOE_ROUTER(expert_choice, ExpertChoiceRouter, ExpertChoiceOptions)
