// T tokens, D width, H sub-tokens of each, P = D / H their width, U = T H sub-tokens.
#include <algorithm>
#include <numeric>

#include <ATen/TensorOperators.h>

#include <moe/layers/feed_forwards/multi_head_moe.h>
#include <moe/layers/linear.h>
#include <moe/layers/moe_layer.h>

namespace moe {

void MultiHeadMoE::validate(const std::string& place) const {
  check<ConfigError>(heads >= 1 && heads <= INT32_MAX, "config", "expected '",
                     detail::dotted(place, "heads"), "' of at least 1 and at most ", INT32_MAX,
                     ", got ", heads, ". Correct it.");
}

}  // namespace moe

namespace moe::layers {

namespace {

/// Runs of tokens as runs of their sub-tokens.
Runs runs_of_sub_tokens(const Runs& runs, int64_t H) {
  if (runs.count() == 0) return runs;
  if (runs.equal_length() > 0) return Runs::equal(runs.count(), runs.equal_length() * H);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < runs.count(); ++i) lengths.push_back(runs.length(i) * H);
  return Runs::of_lengths(lengths);
}

/// What the mixture is told: sub-token h of token t is its token t H + h, of the same sequence, id
/// and domain.
LayerContext context_of_sub_tokens(const LayerContext& context, int64_t H) {
  const auto repeated = [H](const Tensor& of_T) {
    return of_T.defined() ? of_T.repeat_interleave(H) : of_T;
  };
  LayerContext out = context;
  Sequences& sequences = out.tokens.sequences;
  sequences.runs = runs_of_sub_tokens(sequences.runs, H);
  sequences.packed_rows = runs_of_sub_tokens(sequences.packed_rows, H);
  for (int64_t& position : sequences.first_position) position *= H;
  out.tokens.first_token *= H;
  out.tokens.ids_T = repeated(context.tokens.ids_T);
  out.tokens.domains_T = repeated(context.tokens.domains_T);
  out.context_length *= H;
  out.earlier_logits = nullptr;  // those of other layers are of tokens
  return out;
}

/// The routing of sub-tokens as one of tokens, which have the pairs of all their sub-tokens, one
/// sub-token after the other: an expert may come several times. Without logits and scores, which
/// tokens have none of.
Routing routing_of_tokens(const Routing& of_U, int64_t H, int64_t first_token) {
  Routing out;
  out.num_experts = of_U.num_experts;
  out.offsets = of_U.offsets.slice(0, 0, of_U.offsets.size(0), H).contiguous();
  out.experts_N = of_U.experts_N;
  out.weights_N = of_U.weights_N;
  out.choices = of_U.choices * H;
  out.first_token = first_token;
  out.weight_on_input = of_U.weight_on_input;
  return out;
}

/// Wu et al. 2024: with W_in x + b_in cut into H pieces of width D/H,
///
///   y = W_out [moe(piece_1); …; moe(piece_H)] + b_out
///
/// Parameters: w_in (D, D), b_in (D), w_out (D, D), b_out (D), and "moe.…", those of a mixture of
/// width D/H, which has its capacity, balance terms and shared block. Its load, drops and numbers
/// of tokens in the report are those of sub-tokens; the routing in the output is that of tokens.
class MultiHeadMoEFeedForward final : public FeedForward {
 public:
  MultiHeadMoEFeedForward(const FeedForwardShape& shape, const MultiHeadMoE& options)
      : FeedForward(shape.tensors), heads_(options.heads) {
    const int64_t D = shape.d_model, P = D / heads_;
    check<ConfigError>(D > 0 && D % heads_ == 0, "layers/multi_head_moe",
                       "expected d_model to be a multiple of heads=", heads_, ", got ", D,
                       ". Change one of them.");
    check<ConfigError>(options.moe.d_model == 0 || options.moe.d_model == P,
                       "layers/multi_head_moe", "expected moe.d_model = d_model / heads = ", P,
                       ", got ", options.moe.d_model, ". Leave it out.");
    w_in_DD_ = add_parameter("w_in", {D, D}, {.role = Role::kMatrix});
    w_out_DD_ = add_parameter("w_out", {D, D}, {.role = Role::kMatrix, .residual = true});
    if (options.bias) {
      b_in_D_ = add_parameter("b_in", {D}, {.role = Role::kBias});
      b_out_D_ = add_parameter("b_out", {D}, {.role = Role::kBias});
    }
    FeedForwardShape inner = shape;
    inner.d_model = P;
    MoELayerOptions mixture = options.moe;
    mixture.resolve();
    moe_ = register_module("moe", std::make_shared<MoELayerImpl>(inner, mixture));
  }

  FeedForwardOutput forward_tokens(const Tensor& x_TD, const LayerContext& context,
                                   LayerState* state) override {
    const int64_t T = x_TD.size(0), D = w_in_DD_.size(0), H = heads_;
    check(x_TD.dim() == 2 && x_TD.size(1) == D, "layers/multi_head_moe",
          "expected x of shape (T, D=", D, "), got ", x_TD.sizes(),
          ". Beside a context, tokens are a list.");
    const auto type = context.compute_type(x_TD);
    const Tensor piece_UP = linear(x_TD, w_in_DD_, b_in_D_, type).view({T * H, D / H});
    FeedForwardOutput out =
        moe_->forward_tokens(piece_UP, context_of_sub_tokens(context, H), state);
    const Tensor y_TD = linear(out.hidden_TD.reshape({T, D}), w_out_DD_, b_out_D_, type);
    return {y_TD.to(x_TD.scalar_type()), std::move(out.balance),
            routing_of_tokens(out.routing, H, context.tokens.first_token)};
  }

  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override {
    return moe_->new_state(shape);
  }
  bool routes() const override { return true; }
  const MoELayerImpl* mixture() const override { return moe_.get(); }
  void end_step(const StepStatistics& statistics) override { moe_->end_step(statistics); }
  void use_top_k(int64_t top_k) override { moe_->use_top_k(top_k); }

  /// At most: sub-tokens may share experts.
  double active_share(const ParameterInfo& info) const override {
    if (info.part != Part::kExperts) return 1;
    return std::min(1.0, static_cast<double>(heads_) * moe_->active_share(info));
  }

  int64_t flops_per_token() const override {
    return 2 * (w_in_DD_.numel() + w_out_DD_.numel()) + heads_ * moe_->flops_per_token();
  }

 private:
  int64_t heads_;
  Tensor w_in_DD_, b_in_D_, w_out_DD_, b_out_D_;
  std::shared_ptr<MoELayerImpl> moe_;
};

}  // namespace

MOE_KIND(feed_forwards, multi_head_moe, MultiHeadMoEFeedForward, MultiHeadMoE)

}  // namespace moe::layers
