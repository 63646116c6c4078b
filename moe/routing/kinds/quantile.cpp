// T tokens, A tokens of all ranks, D model width, E experts, K choices per token.
#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <moe/routing/finish.h>
#include <moe/routing/kinds/quantile.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/token_groups.h>

namespace moe {

void QuantileRouter::validate(const std::string&) const {
  const char* place = "routing/quantile";
  check_one_of(place, "score", score, {"sigmoid", "softmax"});
  check_one_of(place, "choose", choose, {"top_k", "any"});
  check<ConfigError>(decay >= 0 && decay < 1, place, "expected decay in [0, 1), got ", decay,
                     ". With 1 the bias would never move.");
  check<ConfigError>(std::isfinite(scale) && scale > 0, place,
                     "expected scale to be finite and above 0, got ", scale, ". Correct it.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// Quantile balancing (Su 2026, kexue.fm/archives/11619; `quantile_balancing` in Megatron-LM): the
/// K largest s + b, with s = sigmoid(l) or softmax(l); weight s, over the sum of the chosen with
/// renormalise, times scale. b is the buffer "selection_bias" (E), which no gradient reaches.
///
/// In training alpha_t is the (K+1)-th largest s_te + b_e of token t, what an expert must beat to
/// be chosen, and b*_e = - the (A K / E + 1)-th largest of s_te - alpha_t over the A tokens of the
/// call on all ranks: with it A K / E tokens would choose expert e if all else stayed. After the
/// step b = decay b + (1 - decay) mean b* over micro-batches: one round of coordinate descent on
/// the dual of the even assignment. Tokens whose scores are NaN do not count; with K = E nothing
/// moves.
class Quantile final : public LinearRouter {
 public:
  Quantile(const RouterShape& shape, const QuantileRouter& options)
      : LinearRouter(shape, options.bias), options_(options) {
    add_selection_bias();
    if (options.choose == "top_k")
      set_untrained(
          why_constant(shape, options.renormalise, "routing/quantile", "renormalise = false"));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    Routing routing = options_.choose == "any" ? any(x_TD, context) : best(x_TD, context);
    if (context.training) routing.record_R = even_bias(routing.scores_TE.detach(), context);
    return routing;
  }

  void end_step(const StepStatistics& statistics) override {
    check(statistics.record_R.defined(), "routing/quantile",
          "expected what the forward passes recorded, got none. Set StepStatistics::record_R.");
    const at::NoGradGuard no_grad;
    const int64_t E = shape_.num_experts;
    Tensor b_E = selection_bias();
    const Tensor record = statistics.record_R.to(b_E.device(), at::kDouble);
    if (record[E].item<double>() == 0) return;
    const Tensor found_E = record.slice(0, 0, E) / record[E];
    b_E.copy_(b_E.to(at::kDouble) * options_.decay + found_E * (1 - options_.decay));
  }

 private:
  Routing best(const Tensor& x_TD, const LayerContext& context) const {
    const bool sigmoid = options_.score == "sigmoid";
    // A softmax over the chosen logits is what dividing by the sum comes to, where scores are one.
    const ops::Choices choices =
        choose(x_TD, {.score = sigmoid ? ops::Score::kSigmoid : ops::Score::kSoftmax,
                      .k = shape_.top_k,
                      .sum_to_one = options_.renormalise,
                      .epsilon = sigmoid ? 1e-20 : 0,
                      .scale = options_.scale});
    return finish_fixed(choices.experts_TK, choices.weights_TK, choices.logits_TE,
                        choices.scores_TE, context);
  }

  Routing any(const Tensor& x_TD, const LayerContext& context) const {
    const Tensor logits_TE = logits(x_TD);
    const Tensor scores_TE =
        options_.score == "sigmoid" ? at::sigmoid(logits_TE) : at::softmax(logits_TE, 1);
    const Tensor chosen_TE = (scores_TE.detach() + selection_bias()).gt(0);
    Tensor weights_TE = scores_TE * options_.scale;
    if (options_.renormalise)
      weights_TE = weights_TE / (scores_TE * chosen_TE).sum(1, /*keepdim=*/true).clamp_min(1e-20);
    const Tensor experts_TE =
        at::arange(shape_.num_experts, logits_TE.options().dtype(at::kLong)).expand_as(chosen_TE);
    return finish_ragged(experts_TE, weights_TE, chosen_TE, logits_TE, scores_TE, context);
  }

  /// (E + 1) float64: b*, and 1; zeros where nothing can be said, and on all ranks but the first,
  /// so that the sum over ranks counts each call once.
  Tensor even_bias(const Tensor& scores_TE, const LayerContext& context) const {
    const int64_t E = shape_.num_experts, K = shape_.top_k;
    const Tensor none = at::zeros({E + 1}, at::kDouble);
    if (K == E) return none.to(scores_TE.device());
    const TokenGroups groups(scores_TE, /*whole_batch=*/true, context.tokens, *shape_.group);
    const int64_t A = groups.values().size(0);
    const float* const s = groups.values().const_data_ptr<float>();
    const Tensor bias_E = selection_bias().to(at::kCPU, at::kFloat).contiguous();
    const std::vector<float> alpha = thresholds(s, A, bias_E.const_data_ptr<float>());
    const auto counted =
        std::count_if(alpha.begin(), alpha.end(), [](float value) { return !std::isnan(value); });
    if (counted == 0 || shape_.group->rank() != 0) return none.to(scores_TE.device());

    const int64_t place = std::min<int64_t>(counted * K / E, counted - 1);
    double* const out = none.mutable_data_ptr<double>();
    at::parallel_for(0, E, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> margins;
      for (int64_t e = begin; e < end; ++e) {
        margins.clear();
        for (int64_t t = 0; t < A; ++t)
          if (const float limit = alpha[static_cast<size_t>(t)]; !std::isnan(limit))
            margins.push_back(s[t * E + e] - limit);
        std::nth_element(margins.begin(), margins.begin() + place, margins.end(), std::greater<>());
        out[e] = -static_cast<double>(margins[static_cast<size_t>(place)]);
      }
    });
    out[E] = 1;
    return none.to(scores_TE.device());
  }

  /// alpha_t; NaN where a score is.
  std::vector<float> thresholds(const float* s, int64_t A, const float* b) const {
    const int64_t E = shape_.num_experts, K = shape_.top_k;
    std::vector<float> alpha(static_cast<size_t>(A));
    at::parallel_for(0, A, 64, [&](int64_t begin, int64_t end) {
      std::vector<float> row(static_cast<size_t>(E));
      for (int64_t t = begin; t < end; ++t) {
        float sum = 0;
        for (int64_t e = 0; e < E; ++e) sum += row[static_cast<size_t>(e)] = s[t * E + e] + b[e];
        float& limit = alpha[static_cast<size_t>(t)];
        limit = std::isnan(sum) ? NAN : 0.0f;
        if (options_.choose == "any" || std::isnan(sum)) continue;
        std::nth_element(row.begin(), row.begin() + K, row.end(), std::greater<>());
        limit = row[static_cast<size_t>(K)];
      }
    });
    return alpha;
  }

  QuantileRouter options_;
};

}  // namespace

MOE_KIND(routers, quantile, Quantile, QuantileRouter)

}  // namespace moe::routing
