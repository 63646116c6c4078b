// T tokens, E experts, K choices per token.
#include <numeric>
#include <vector>

#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <moe/routing/kinds/thor.h>
#include <moe/routing/random.h>
#include <moe/routing/wide_linear.h>

namespace moe {

void ThorRouter::validate(const std::string&) const {
  check_one_of("routing/thor", "training", training, {"layer", "token"});
  check_one_of("routing/thor", "evaluation", evaluation, {"token", "layer", "mean"});
}

}  // namespace moe

namespace moe::routing {

namespace {

/// THOR (Zuo et al. 2021, arXiv 2110.04260): K different experts drawn uniformly, for all tokens of
/// a forward pass together or for each token, by seed, step, layer and (for tokens) global number.
/// Weight 1/K. No parameters and no scores.
///
/// THOR trains on two passes that must agree: [train.consistency] does that. With evaluation =
/// "mean" all E experts work for a token, weighing 1/E.
class Thor final : public Router {
 public:
  Thor(const RouterShape& shape, const ThorRouter& options) : Router(shape), options_(options) {}

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const std::string& how = context.training ? options_.training : options_.evaluation;
    const Tensor experts_TK = how == "mean"    ? all(x_TD)
                              : how == "layer" ? for_layer(x_TD, context)
                                               : for_tokens(x_TD, context);
    const auto type = x_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const Tensor weights_TK =
        at::full(experts_TK.sizes(), 1.0 / static_cast<double>(experts_TK.size(1)),
                 x_TD.options().dtype(type).requires_grad(false));
    Routing routing = fixed_choices(experts_TK, weights_TK, shape_.num_experts);
    routing.first_token = context.tokens.first_token;
    return routing;
  }

 private:
  static at::TensorOptions ids(const Tensor& x_TD) {
    return x_TD.options().dtype(at::kLong).requires_grad(false);
  }

  Tensor all(const Tensor& x_TD) const {
    const int64_t E = shape_.num_experts;
    return at::arange(E, ids(x_TD)).expand({x_TD.size(0), E});
  }

  /// One draw: the first K of a shuffle.
  Tensor for_layer(const Tensor& x_TD, const LayerContext& context) const {
    const int64_t E = shape_.num_experts, K = shape_.top_k;
    const RandomStream stream(context.random, Purpose::kRouting);
    std::vector<int64_t> experts(static_cast<size_t>(E));
    std::iota(experts.begin(), experts.end(), 0);
    Tensor drawn_K = at::empty({K}, at::kLong);
    for (int64_t k = 0; k < K; ++k) {
      const auto rest = static_cast<uint64_t>(E - k);
      const auto place = static_cast<int64_t>(stream.below(static_cast<uint64_t>(k), rest));
      std::swap(experts[static_cast<size_t>(k)], experts[static_cast<size_t>(k + place)]);
      drawn_K.mutable_data_ptr<int64_t>()[k] = experts[static_cast<size_t>(k)];
    }
    return drawn_K.to(x_TD.device()).expand({x_TD.size(0), K});
  }

  /// The K largest of E uniform numbers.
  Tensor for_tokens(const Tensor& x_TD, const LayerContext& context) const {
    const Tensor shape_TE = at::empty({x_TD.size(0), shape_.num_experts},
                                      x_TD.options().dtype(at::kFloat).requires_grad(false));
    return at::argsort(uniform_like(shape_TE, context), /*stable=*/true, /*dim=*/1,
                       /*descending=*/true)
        .slice(1, 0, shape_.top_k)
        .contiguous();
  }

  ThorRouter options_;
};

}  // namespace

MOE_KIND(routers, thor, Thor, ThorRouter)

}  // namespace moe::routing
