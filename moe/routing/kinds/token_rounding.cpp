// T tokens, D model width, E experts, K choices per token, G groups of tokens.
#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/order.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/token_rounding.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/token_groups.h>

namespace moe {

void TokenRoundingRouter::validate(const std::string&) const {
  const char* place = "routing/token_rounding";
  check<ConfigError>(tile >= 1 && tile <= 65536, place, "expected tile in [1, 65536], got ", tile,
                     ". SonicMoE uses 128.");
  check_one_of(place, "rounding", rounding, {"nearest", "up", "down"});
  check_one_of(place, "group", group, {"sequence", "batch"});
}

}  // namespace moe

namespace moe::routing {

namespace {

/// SonicMoE's token rounding (Guo et al. 2025, arXiv 2512.14080): p = softmax(l); a token chooses
/// its K largest p. In training c_e, how many tokens of a group chose expert e, is rounded to a
/// multiple of the tile (at most the group); e keeps its c_e with the largest weight when that is
/// less, and takes on the other tokens with the largest p when it is more. A token then has 0 to E
/// experts, in the order of ids. Evaluation leaves the K as they are.
///
/// Weight p over the sum of the token's K largest (p without renormalise), and p of an expert that
/// took a token on. Tokens with NaN have no expert in training. A token's experts then depend on
/// the others of its group, later ones too; in evaluation on itself alone.
class TokenRounding final : public LinearRouter {
 public:
  TokenRounding(const RouterShape& shape, const TokenRoundingRouter& options)
      : LinearRouter(shape, options.bias), options_(options) {
    set_untrained(
        why_constant(shape, options.renormalise, "routing/token_rounding", "renormalise = false"));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    const Tensor logits_TE = logits(x_TD), p_TE = at::softmax(logits_TE, 1);
    const Tensor experts_TK = ops::topk(logits_TE.detach(), shape_.top_k).second;
    const Tensor best_TK = p_TE.gather(1, experts_TK);
    const Tensor weights_TK =
        options_.renormalise ? at::softmax(logits_TE.gather(1, experts_TK), 1) : best_TK;
    if (!context.training) return finish_fixed(experts_TK, weights_TK, logits_TE, p_TE, context);
    const Tensor weights_TE = p_TE.scatter(1, experts_TK, weights_TK);
    // Chosen ones first, the others behind them in the order of p.
    const Tensor rank_TE = (p_TE.detach() - 2).scatter(1, experts_TK, weights_TK.detach());
    const Tensor experts_TE =
        at::arange(shape_.num_experts, experts_TK.options()).expand_as(weights_TE);
    return finish_ragged(experts_TE, weights_TE, rounded(rank_TE, context), logits_TE, p_TE,
                         context);
  }

 private:
  int64_t rounded_count(int64_t count, int64_t most) const {
    const int64_t tile = options_.tile, down = count / tile * tile;
    if (options_.rounding == "down" || count == down) return down;
    if (options_.rounding == "nearest" && count - down < down + tile - count) return down;
    return std::min(down + tile, most);
  }

  /// (T, E) bool: which expert has which token.
  Tensor rounded(const Tensor& rank_TE, const LayerContext& context) const {
    const int64_t E = shape_.num_experts;
    const TokenGroups groups(rank_TE, options_.group == "batch", context.tokens, *shape_.group);
    const int64_t A = groups.values().size(0), G = groups.runs().count();
    const float* const rank = groups.values().const_data_ptr<float>();
    const Tensor kept_AE = at::zeros({A, E}, at::kBool);
    bool* const kept = kept_AE.mutable_data_ptr<bool>();
    at::parallel_for(0, G * E, 1, [&](int64_t first, int64_t last) {
      std::vector<int64_t> tokens;
      for (int64_t i = first; i < last; ++i) {
        const int64_t g = i / E, e = i % E;
        tokens.clear();
        int64_t count = 0;
        for (int64_t t = groups.runs().begin(g); t < groups.runs().end(g); ++t) {
          if (std::isnan(rank[t * E + e])) continue;
          tokens.push_back(t);
          count += rank[t * E + e] >= 0;
        }
        const auto keeps = rounded_count(count, static_cast<int64_t>(tokens.size()));
        const auto before = [&](int64_t a, int64_t b) {
          const float of_a = rank[a * E + e], of_b = rank[b * E + e];
          return of_a != of_b ? of_a > of_b : a < b;
        };
        std::nth_element(tokens.begin(), tokens.begin() + keeps, tokens.end(), before);
        for (int64_t j = 0; j < keeps; ++j) kept[tokens[static_cast<size_t>(j)] * E + e] = true;
      }
    });
    return groups.own(kept_AE).to(rank_TE.device());
  }

  TokenRoundingRouter options_;
};

}  // namespace

MOE_KIND(routers, token_rounding, TokenRounding, TokenRoundingRouter)

}  // namespace moe::routing
