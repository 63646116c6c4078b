// T tokens, D model width, E experts, G groups, of S tokens each where they are equal.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>

#include <moe/ops/rounding.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/expert_choice.h>
#include <moe/routing/linear_router.h>

namespace moe {

void ExpertChoiceRouter::validate(const std::string&) const {
  check_one_of("routing/expert_choice", "group", group, {"sequence", "batch"});
  check_one_of("routing/expert_choice", "rounding", rounding, ops::rounding_modes());
  check<ConfigError>(capacity_factor >= 0, "routing/expert_choice",
                     "expected capacity_factor >= 0, got ", capacity_factor, ". Use 0 for top_k.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// Zhou et al. 2022: p = softmax(l) over experts; within each group of S tokens, expert e takes the
/// C = capacity_factor * S / E tokens with the largest p_te, weight p_te. Groups are the rows of
/// the call (context.tokens), whose lengths may differ, or the whole call.
///
/// A token has 0 to E experts, in the order of ids. Ties go to the earlier token. With group =
/// "batch" the result depends on what else is in the call, so on micro-batches and ranks too.
class ExpertChoice final : public LinearRouter {
 public:
  ExpertChoice(const RouterShape& shape, const ExpertChoiceRouter& options)
      : LinearRouter(shape, options.bias),
        options_(options),
        takes_top_k_(options.capacity_factor == 0) {
    if (takes_top_k_) options_.capacity_factor = static_cast<double>(shape.top_k);
  }

  bool takes_top_k() const override { return takes_top_k_; }
  double active_experts() const override { return options_.capacity_factor; }
  bool looks_ahead() const override { return true; }
  bool ranks_choices() const override { return false; }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check<ConfigError>(
        !context.causal || options_.allow_future, "routing/expert_choice",
        "expected a model that may look ahead, got a causal one: a token's experts depend on later "
        "tokens. Choose another router, or set allow_future = true and accept the leak.");
    const Tensor logits_TE = logits(x_TD);
    const Tensor scores_TE = at::softmax(logits_TE, 1);
    const int64_t T = x_TD.size(0), E = shape_.num_experts;
    const Tensor chosen_TE = choose(scores_TE.detach(), context);
    const Tensor experts_TE = at::arange(E, chosen_TE.options().dtype(at::kLong)).expand({T, E});
    return finish_ragged(experts_TE, scores_TE, chosen_TE, logits_TE, scores_TE, context);
  }

 private:
  /// (T, E) bool: whether expert e has room for token t, the best tokens of its group first.
  Tensor choose(const Tensor& scores_TE, const LayerContext& context) const {
    const int64_t T = scores_TE.size(0), E = shape_.num_experts;
    const Runs groups = options_.group == "sequence" ? context.tokens.rows(T) : Runs::equal(1, T);
    const Tensor lengths_G = groups.offsets(scores_TE.device()).diff();
    const Tensor room_G =
        ops::rounded(lengths_G.to(at::kDouble) * options_.capacity_factor / static_cast<double>(E),
                     options_.rounding);
    const Tensor known_TE = at::nan_to_num(scores_TE, -1.0);  // NaN: below every probability
    if (const int64_t S = groups.equal_length(); S > 0) {
      const Tensor known_GSE = known_TE.reshape({groups.count(), S, E});
      return places(falling(known_GSE, 1), 1).lt(room_G.reshape({-1, 1, 1})).reshape({T, E});
    }
    const Tensor group_T = groups.run_T(scores_TE.device());
    // By score, then by group: within a group the scores still fall.
    const Tensor by_score_TE = falling(known_TE, 0);
    const Tensor group_TE = group_T.index_select(0, by_score_TE.flatten()).view({T, E});
    const Tensor by_group_TE =
        std::get<1>(at::sort(group_TE, /*stable=*/true, /*dim=*/0, /*descending=*/false));
    const Tensor begin_T = groups.offsets(scores_TE.device()).index_select(0, group_T);
    const Tensor place_TE = places(by_score_TE.gather(0, by_group_TE), 0) - begin_T.unsqueeze(1);
    return place_TE.lt(room_G.index_select(0, group_T).unsqueeze(1));
  }

  /// Where along `dim` the largest value stands, where the next, and so on; ties: in order.
  static Tensor falling(const Tensor& values, int64_t dim) {
    return std::get<1>(at::sort(values, /*stable=*/true, dim, /*descending=*/true));
  }

  /// The place of each element in such an order.
  static Tensor places(const Tensor& order, int64_t dim) {
    std::vector<int64_t> shape(static_cast<size_t>(order.dim()), 1);
    shape[static_cast<size_t>(dim)] = order.size(dim);
    const Tensor numbers = at::arange(order.size(dim), order.options()).reshape(shape);
    Tensor place = at::empty_like(order);
    return place.scatter_(dim, order, numbers.expand(order.sizes()));
  }

  ExpertChoiceRouter options_;
  bool takes_top_k_;
};

}  // namespace

MOE_KIND(routers, expert_choice, ExpertChoice, ExpertChoiceRouter)

}  // namespace moe::routing
