// T tokens, D width, F hidden, H = F or 2F.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/linear.h>
#include <moe/ops/grouped.h>
#include <moe/ops/pointwise.h>
#include <moe/ops/random_fill.h>

namespace moe {

void Dense::validate(const std::string& place) const {
  const auto key = [&](const char* name) { return detail::dotted(place, name); };
  check_one_of("config", key("form"), form, {"gated", "ffn"});
  if (!activation.empty()) ops::parse_activation(activation, key("activation"));
  check<ConfigError>(d_ff >= 0 && d_ff <= INT32_MAX, "config", "expected '", key("d_ff"),
                     "' of at least 0 and at most ", INT32_MAX, ", got ", d_ff, ". Correct it.");
  check<ConfigError>(dropout >= 0 && dropout < 1, "config", "expected '", key("dropout"),
                     "' in [0, 1), got ", dropout, ". Correct it.");
}

void Dense::resolve() {
  if (activation.empty()) activation = form == "gated" ? "silu" : "gelu";
}

}  // namespace moe

namespace moe::layers {

namespace {

/// One expert that takes every token, so that a comparison of MoE and dense measures routing and
/// dispatch and not two implementations. Parameters w_in (F or 2F, D), w_out (D, F), b_in, b_out,
/// w_gate (1, D).
class DenseFeedForward final : public FeedForward {
 public:
  DenseFeedForward(const FeedForwardShape& shape, const Dense& options)
      : FeedForward(shape.tensors), options_(options), gated_(options.form == "gated") {
    options_.resolve();
    activation_ = ops::parse_activation(options_.activation, "layers/dense");
    const int64_t D = shape.d_model, F = options_.d_ff > 0 ? options_.d_ff : 4 * D;
    check<ConfigError>(D > 0, "layers/dense", "expected d_model above 0, got ", D, ". Set it.");
    const int64_t H = gated_ ? 2 * F : F;
    const std::vector<int64_t> fused = gated_ ? std::vector<int64_t>{F, F} : std::vector<int64_t>{};
    w_in = add_parameter("w_in", {H, D}, {.role = Role::kMatrix, .fused = fused});
    w_out = add_parameter("w_out", {D, F}, {.role = Role::kMatrix, .residual = true});
    if (options_.bias) {
      b_in = add_parameter("b_in", {H}, {.role = Role::kBias, .fused = fused});
      b_out = add_parameter("b_out", {D}, {.role = Role::kBias});
    }
    if (options_.gate) w_gate = add_parameter("w_gate", {1, D}, {.role = Role::kMatrix});
  }

  FeedForwardOutput forward_tokens(const Tensor& x_TD, const LayerContext& context,
                                   LayerState* /*state*/) override {
    const auto as_expert = [](const Tensor& parameter) {
      return parameter.defined() ? parameter.unsqueeze(0) : parameter;
    };
    const auto type = context.compute_type(x_TD);
    const Tensor offsets_2 = at::arange(2, x_TD.options().dtype(at::kLong)).mul_(x_TD.size(0));
    const ops::MlpParameters mlp = {as_expert(w_in),   as_expert(b_in), as_expert(w_out),
                                    as_expert(b_out),  activation_,     gated_,
                                    options_.recompute};
    const Tensor y_TD =
        ops::grouped_mlp(x_TD.to(type), /*index_R=*/{}, offsets_2, mlp, keep_mask(x_TD, context));
    if (!w_gate.defined()) return {y_TD};
    return {ops::sigmoid(linear(x_TD, w_gate, {}, x_TD.scalar_type())) * y_TD};
  }

  int64_t flops_per_token() const override {
    return 2 * (w_in.numel() + w_out.numel() + (w_gate.defined() ? w_gate.numel() : 0));
  }

 private:
  /// (T, F) dropout multipliers of the hidden units in training, else undefined.
  Tensor keep_mask(const Tensor& x_TD, const LayerContext& context) const {
    if (!context.training || options_.dropout == 0) return {};
    const int64_t first = context.tokens.first_token;
    const Tensor token_T = at::arange(first, first + x_TD.size(0), x_TD.options().dtype(at::kLong));
    return ops::dropout_mask(token_T, w_out.size(1), options_.dropout,
                             RandomStream(context.random, Purpose::kExpertDropout, 1),
                             context.compute_type(x_TD));
  }

  Dense options_;
  bool gated_;
  ops::Activation activation_;
  Tensor w_in, b_in, w_out, b_out, w_gate;
};

}  // namespace

MOE_KIND(feed_forwards, dense, DenseFeedForward, Dense)

}  // namespace moe::layers
