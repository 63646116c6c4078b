// T tokens, D width, N sequences, M tokens of one, E experts, P slots of one, S = E·P slots.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>

#include <moe/layers/feed_forwards/soft_moe.h>

namespace moe {

void SoftMoE::validate(const std::string& place) const {
  for (const auto& [name, size] :
       {std::pair{"num_experts", num_experts}, std::pair{"slots", slots}})
    check<ConfigError>(size >= 1 && size <= INT32_MAX, "config", "expected '",
                       detail::dotted(place, name), "' of at least 1 and at most ", INT32_MAX,
                       ", got ", size, ". Correct it.");
}

}  // namespace moe

namespace moe::layers {

namespace {

/// The width of a slot's vector in the product with a token: x / sqrt(sum x² + 1e-6).
Tensor unit(const Tensor& x) {
  return x * (x.square().sum(-1, /*keepdim=*/true) + 1e-6).rsqrt();
}

/// Parameters mu (S, D), scale (1), and "experts.…".
///
///   scores_MS = scale unit(x_MD) unit(mu_SD)^T
///   slots_SD = softmax over tokens(scores)^T x        y_MD = softmax over slots(scores)
///   experts(slots)
class SoftMoEFeedForward final : public FeedForward {
 public:
  SoftMoEFeedForward(const FeedForwardShape& shape, const SoftMoE& options)
      : FeedForward(shape.tensors), options_(options) {
    auto& o = options_;
    o.resolve();
    check<ConfigError>(!shape.causal, "layers/soft_moe",
                       "expected a model that is not causal, since slots mix all tokens of a "
                       "sequence, got a causal one. Use another feed-forward.");
    check<ConfigError>(shape.layout.experts->size() == 1, "layers/soft_moe",
                       "expected every rank to hold all experts, got ",
                       shape.layout.experts->size(),
                       " ranks that share them. Set parallel.experts = 1.");
    const int64_t D = shape.d_model;
    if (o.expert.d_ff == 0) o.expert.d_ff = 4 * D;
    mu_SD = add_parameter("mu", {o.num_experts * o.slots, D}, {.role = Role::kMatrix});
    scale_ = add_parameter("scale", {1}, {.role = Role::kScale});
    experts_ = register_module("experts", o.expert.make({.d_model = D,
                                                         .d_ff = o.expert.d_ff,
                                                         .num_experts = o.num_experts,
                                                         .tensors = shape.tensors}));
  }

  FeedForwardOutput forward_tokens(const Tensor& x_TD, const LayerContext& context,
                                   LayerState* /*state*/) override {
    check<ConfigError>(context.budget == 1, "layers/soft_moe",
                       "expected a budget of 1, since every token is in every slot, got ",
                       context.budget, ". Leave the budget out, or use another feed-forward.");
    const int64_t T = x_TD.size(0), D = x_TD.size(1);
    const auto wide = x_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const Tensor mu = scale_.to(wide) * unit(mu_SD.to(wide)), x = x_TD.to(wide);
    Runs runs = context.tokens.sequences.runs;
    if (runs.count() == 0) runs = Runs::equal(1, T);
    check(runs.tokens() == T, "layers/soft_moe", "expected sequences of the call's ", T,
          " tokens, got ", runs.tokens(), ". Describe exactly the tokens that are passed.");
    // Sequences of one length are one product; others go one by one.
    std::vector<Tensor> parts;
    if (const int64_t M = runs.equal_length(); M > 0) {
      parts = {x.view({runs.count(), M, D})};
    } else {
      for (int64_t n = 0; n < runs.count(); ++n)
        if (runs.length(n) > 0)
          parts.push_back(x.narrow(0, runs.begin(n), runs.length(n)).unsqueeze(0));
    }
    if (parts.empty()) return {x_TD};
    std::vector<Tensor> scores, slots;
    for (const Tensor& x_NMD : parts) {
      scores.push_back(at::matmul(unit(x_NMD), mu.t()));
      slots.push_back(at::matmul(at::softmax(scores.back(), 1).transpose(1, 2), x_NMD));
    }
    const Tensor out_NSD =
        through_experts(at::cat(slots), context.compute_type(x_TD), context).to(wide);
    std::vector<Tensor> y;
    int64_t first = 0;
    for (const Tensor& scores_NMS : scores) {
      const int64_t N = scores_NMS.size(0);
      y.push_back(
          at::matmul(at::softmax(scores_NMS, 2), out_NSD.narrow(0, first, N)).reshape({-1, D}));
      first += N;
    }
    return {at::cat(y).to(x_TD.scalar_type())};
  }

  std::unique_ptr<LayerState> new_state(const StateShape&) const override {
    fail("layers/soft_moe",
         "expected a layer whose tokens do not depend on later ones, to generate one by one, got "
         "Soft MoE. Evaluate whole sequences.");
  }

  /// As if a sequence had as many tokens as there are slots, which is usual.
  int64_t flops_per_token() const override { return 6 * mu_SD.numel() + experts_->flops_per_row(); }

 private:
  /// (N, S, D) -> (N, S, D): slot s belongs to expert s / P.
  Tensor through_experts(const Tensor& slots_NSD, at::ScalarType type,
                         const LayerContext& context) {
    const int64_t N = slots_NSD.size(0), E = options_.num_experts, P = options_.slots,
                  D = slots_NSD.size(2);
    const auto ids = slots_NSD.options().dtype(at::kLong).requires_grad(false);
    const ExpertRows rows = {
        .source_SD = slots_NSD.view({N, E, P, D}).transpose(0, 1).reshape({E * N * P, D}).to(type),
        .index_R = {},
        .offsets_L = at::arange(E + 1, ids) * (N * P),
        .token_R = at::arange(E * N * P, ids) + context.tokens.first_token * E * P};
    return experts_->forward(rows, context)
        .view({E, N, P, D})
        .transpose(0, 1)
        .reshape({N, E * P, D});
  }

  SoftMoE options_;
  Tensor mu_SD, scale_;
  std::shared_ptr<experts::Experts> experts_;
};

}  // namespace

MOE_KIND(feed_forwards, soft_moe, SoftMoEFeedForward, SoftMoE)

}  // namespace moe::layers
