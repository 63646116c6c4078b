// T tokens, D width, F hidden.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sigmoid.h>

#include <moe/layers/feed_forward.h>
#include <moe/layers/linear.h>
#include <moe/ops/random_fill.h>

namespace moe::layers {

FeedForwardImpl::FeedForwardImpl(const std::string& form, int64_t d_model, int64_t d_ff,
                                 const experts::FeedForwardOptions& options, bool token_gate)
    : gated_(form == "gated"),
      options_(options),
      activation_(ops::parse_activation(options.activation, "layers/feed_forward")) {
  check<ConfigError>(gated_ || form == "ffn", "layers/feed_forward",
                     "expected the form \"gated\" or \"ffn\", got \"", form, "\".",
                     did_you_mean(form, {"gated", "ffn"}));
  check<ConfigError>(d_model > 0 && d_ff > 0, "layers/feed_forward",
                     "expected d_model and d_ff above 0, got ", d_model, " and ", d_ff,
                     ". Set both.");
  const int64_t H = gated_ ? 2 * d_ff : d_ff;
  w_in = register_parameter("w_in", at::empty({H, d_model}));
  w_out = register_parameter("w_out", at::empty({d_model, d_ff}));
  if (options_.bias) {
    b_in = register_parameter("b_in", at::empty({H}));
    b_out = register_parameter("b_out", at::empty({d_model}));
  }
  if (token_gate) w_gate = register_parameter("w_gate", at::empty({1, d_model}));
}

Tensor FeedForwardImpl::forward(const Tensor& x_TD, const RoutingContext& context) {
  const auto as_expert = [](const Tensor& parameter) {
    return parameter.defined() ? parameter.unsqueeze(0) : parameter;
  };
  const int64_t T = x_TD.size(0);
  const auto type = context.compute_type(x_TD);
  const Tensor offsets_2 = at::arange(2, x_TD.options().dtype(at::kLong)).mul_(T);
  Tensor keep_TF;
  if (context.training && options_.dropout > 0) {
    const Tensor token_T =
        at::arange(context.first_token, context.first_token + T, offsets_2.options());
    keep_TF = ops::dropout_mask(token_T, w_out.size(1), options_.dropout,
                                RandomStream(context.random, Purpose::kExpertDropout, 1), type);
  }
  const ops::MlpParameters mlp = {as_expert(w_in),   as_expert(b_in), as_expert(w_out),
                                  as_expert(b_out),  activation_,     gated_,
                                  options_.recompute};
  const Tensor y_TD = ops::grouped_mlp(x_TD.to(type), /*index_R=*/{}, offsets_2, mlp, keep_TF);
  return w_gate.defined() ? at::sigmoid(linear(x_TD, w_gate, {}, x_TD.scalar_type())) * y_TD : y_TD;
}

int64_t FeedForwardImpl::flops_per_row() const {
  return 2 * (w_in.numel() + w_out.numel() + (w_gate.defined() ? w_gate.numel() : 0));
}

}  // namespace moe::layers
