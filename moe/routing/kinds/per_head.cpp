// T tokens, D model width, E experts, K choices per token, H heads, J choices of a head.
#include <ATen/TensorOperators.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/choice.h>
#include <moe/ops/order.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/per_head.h>
#include <moe/routing/wide_linear.h>

namespace moe {

void PerHeadRouter::validate(const std::string&) const {
  const char* place = "routing/per_head";
  check_one_of(place, "reads", reads, {"slice", "token"});
  check<ConfigError>(heads >= 0, place, "expected heads >= 0, got ", heads,
                     ". Use 0 for one head a choice.");
}

}  // namespace moe

namespace moe::routing {

namespace {

constexpr const char* kPlaceOfPerHead = "routing/per_head";

/// Head i has logits of its own, l_i = W_i x, and chooses the J = K/H experts with the largest p_i
/// = softmax(l_i). Weight of a pair = 1/H sum over the heads that chose the expert of p_i, or of
/// p_i over its sum among the head's choices. A token has K experts or fewer, by falling weight:
/// what several heads chose is one pair.
///
/// With reads = "slice" head i sees the dimensions [i D/H, (i+1) D/H) alone, as the sub-tokens of
/// multi-head MoE do (Wu et al. 2024) though the experts get whole tokens; with "token" all of
/// them, as the heads of product-key memories and PEER (Lample et al. 2019, He 2024).
///
/// Parameter: "weight" (E, D), whose columns are the heads' slices, or (E, H D), the heads'
/// matrices side by side. logits_TE and scores_TE are the means of l_i and p_i over the heads.
class PerHead final : public Router {
 public:
  PerHead(const RouterShape& shape, const PerHeadRouter& options)
      : Router(shape), options_(options), heads_(options.heads > 0 ? options.heads : shape.top_k) {
    const int64_t D = shape.d_model, E = shape.num_experts, H = heads_;
    check<ConfigError>(shape.top_k % H == 0, kPlaceOfPerHead,
                       "expected top_k to be a multiple of heads=", H, ", got ", shape.top_k,
                       ". Change one of them, or set heads = 0.");
    check<ConfigError>(whole() || H <= D, kPlaceOfPerHead, "expected at most d_model=", D,
                       " heads, each with a slice of the token, got ", H,
                       ". Lower heads, or set reads = \"token\".");
    weight_ = add_parameter("weight", {E, whole() ? H * D : D},
                            {.role = Role::kScores, .per_expert = true});
    if (shape.top_k == H && options.renormalise && E > 1)
      set_untrained(concat('[', kPlaceOfPerHead,
                           "] one choice a head divided by its own sum weighs 1 for every token, "
                           "so the task loss cannot train the router. Set renormalise = false, or "
                           "raise top_k."));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const int64_t T = x_TD.size(0), E = shape_.num_experts, H = heads_, J = shape_.top_k / H;
    const Tensor logits_THE = head_logits(x_TD);
    const ops::Choices choices = ops::choose(
        logits_THE.reshape({T * H, E}),
        {.k = J, .sum_to_one = options_.renormalise, .scale = 1 / static_cast<double>(H)});
    const Tensor experts_THJ = choices.experts_TK.view({T, H, J}),
                 weights_THJ = choices.weights_TK.view({T, H, J});
    // Head by head: in one of them no expert comes twice, so that the order of sums is fixed.
    Tensor weights_TE = at::zeros({T, E}, weights_THJ.options().requires_grad(false));
    Tensor chosen_TE = at::zeros({T, E}, experts_THJ.options().dtype(at::kBool));
    for (int64_t i = 0; i < H; ++i) {
      const Tensor experts_TJ = experts_THJ.select(1, i);
      weights_TE = weights_TE.scatter_add(1, experts_TJ, weights_THJ.select(1, i));
      chosen_TE.scatter_(1, experts_TJ, true);
    }
    const Tensor known_TE = at::nan_to_num(weights_TE.detach());
    const Tensor order_TK = ops::topk(at::where(chosen_TE, known_TE, -1.0), shape_.top_k).second;
    Routing routing = finish_ragged(order_TK, at::gather(weights_TE, 1, order_TK),
                                    at::gather(chosen_TE, 1, order_TK), logits_THE.mean(1),
                                    at::softmax(logits_THE, 2).mean(1), context);
    routing.weights_are_shares = options_.renormalise;
    return routing;
  }

 private:
  bool whole() const { return options_.reads == "token"; }

  Tensor head_logits(const Tensor& x_TD) const {
    const int64_t T = x_TD.size(0), D = shape_.d_model, E = shape_.num_experts, H = heads_;
    if (whole()) {
      const Tensor logits_TEH = wide_linear(x_TD, weight_.reshape({E * H, D})).view({T, E, H});
      return logits_TEH.transpose(1, 2);
    }
    std::vector<Tensor> logits;
    for (int64_t i = 0; i < H; ++i) {
      const int64_t begin = i * D / H, end = (i + 1) * D / H;
      logits.push_back(wide_linear(x_TD.slice(1, begin, end).contiguous(),
                                   weight_.slice(1, begin, end).contiguous()));
    }
    return at::stack(logits, 1);
  }

  PerHeadRouter options_;
  int64_t heads_;
  Tensor weight_;
};

}  // namespace

MOE_KIND(routers, per_head, PerHead, PerHeadRouter)

}  // namespace moe::routing
