// T tokens, D width, H heads, P head width, I channels, G groups, S numbers of state for each
// channel, W width of the convolution.
#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>

#include <moe/base/error.h>
#include <moe/layers/linear.h>
#include <moe/layers/mixers/mamba2.h>
#include <moe/layers/recurrent_state.h>
#include <moe/ops/grouped.h>
#include <moe/ops/linear_recurrence.h>
#include <moe/ops/norm.h>
#include <moe/ops/pointwise.h>

namespace moe {

void Mamba2::validate(const std::string& place) const {
  for (const auto& [name, value] : {std::pair{"heads", heads}, std::pair{"state", state},
                                    std::pair{"groups", groups}, std::pair{"width", width}})
    layers::check_at_least(value, 1, place, name);
  layers::check_at_least(head_dim, 0, place, "head_dim");
  ops::parse_activation(activation, detail::dotted(place, "activation"));
  layers::check_at_least(norm_groups, 0, place, "norm_groups");
  check<ConfigError>(heads % groups == 0, "config", "expected '", detail::dotted(place, "heads"),
                     "' to be a multiple of groups, got ", heads, " and ", groups,
                     ". Change one of them.");
  for (const auto& [name, value] :
       {std::pair{"least_step", least_step}, std::pair{"largest_step", largest_step}})
    check<ConfigError>(std::isfinite(value) && value >= 0, "config", "expected '",
                       detail::dotted(place, name), "' to be finite and at least 0, got ", value,
                       ". Correct it.");
}

void Mamba2::fill_in(int64_t d_model) {
  if (head_dim == 0) head_dim = std::max<int64_t>(1, 2 * d_model / heads);
  if (norm_groups == 0) norm_groups = groups;
}

}  // namespace moe

namespace moe::layers {

namespace {

class Mamba2Mixer final : public Mixer {
 public:
  Mamba2Mixer(const MixerShape& shape, const Mamba2& options)
      : Mixer(shape.tensors),
        options_(options),
        activation_(ops::parse_activation(options.activation, "mamba2.activation")),
        epsilon_(shape.norm_epsilon) {
    auto& o = options_;
    const int64_t D = shape.d_model, H = o.heads;
    o.fill_in(D);

    const int64_t I = channels(), convolved = I + 2 * o.groups * o.state;
    check<ConfigError>(I % o.norm_groups == 0, "layers/mamba2",
                       "expected heads · head_dim to be a multiple of norm_groups, got ", I,
                       " and ", o.norm_groups, ". Change one of them.");
    w_in = add_parameter("w_in", {I + convolved + H, D}, {.fused = {I, convolved, H}});
    conv = add_parameter("conv", {convolved, o.width}, {});
    if (o.conv_bias) conv_bias = add_parameter("conv_bias", {convolved}, {.role = Role::kBias});
    dt_bias =
        add_parameter("dt_bias", {H}, {.role = Role::kBias, .start = step_size_start(0.001, 0.1)});
    // Rates 1 … H.
    a_log = add_parameter(
        "a_log", {H}, {.role = Role::kBias, .start = [](Tensor values, const RandomStream&) {
                         values.copy_(at::arange(1, values.size(0) + 1, values.options()).log());
                       }});
    d = add_parameter("d", {H}, {.role = Role::kScale});
    norm_scale = add_parameter("norm_scale", {I}, {.role = Role::kScale});
    w_o = add_parameter("w_o", {D, I}, {.residual = true});
    if (!o.bias) return;
    b_in = add_parameter("b_in", {I + convolved + H}, {.role = Role::kBias});
    b_o = add_parameter("b_o", {D}, {.role = Role::kBias});
  }

  Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) override {
    const RecurrentCall call(x_TD, context, state, "layers/mamba2");
    const auto type = context.compute_type(x_TD);
    const auto wide = recurrent_type(type);
    const auto& o = options_;
    const int64_t T = x_TD.size(0), H = o.heads, P = o.head_dim, I = channels(), G = o.groups,
                  S = o.state;
    const Tensor all = linear(x_TD, w_in, b_in, type).to(wide);
    const Tensor z_TI = all.narrow(1, 0, I);
    const Tensor mixed = activated(causal_convolution(all.narrow(1, I, conv.size(0)), conv,
                                                      conv_bias, call.runs(), call.memory(0)),
                                   activation_);
    const Tensor x_THP = mixed.narrow(1, 0, I).reshape({T, H, P});
    Tensor dt_TH = ops::softplus(all.narrow(1, I + conv.size(0), H) + dt_bias.to(wide));
    if (o.least_step > 0 || o.largest_step > 0)
      dt_TH =
          dt_TH.clamp(o.least_step, o.largest_step > 0 ? o.largest_step
                                                       : std::numeric_limits<double>::infinity());
    ops::RecurrenceInputs in;
    in.k_TGK = mixed.narrow(1, I, G * S).reshape({T, G, S});
    in.q_TGK = mixed.narrow(1, I + G * S, G * S).reshape({T, G, S});
    in.v_THV = x_THP * dt_TH.unsqueeze(2);
    in.log_decay_THK = (a_log.to(wide).exp().neg() * dt_TH).unsqueeze(2);
    const Tensor y_THP = ops::linear_recurrence(in, call.offsets(), call.memory(1)) +
                         x_THP * d.to(wide).unsqueeze(1);
    call.finish();
    const Tensor gated = y_THP.view({T, I}) * ops::silu(z_TI);
    const int64_t width = I / o.norm_groups;
    const Tensor normed =
        ops::rms_norm(gated.view({T, o.norm_groups, width}),
                      at::ones({width}, gated.options().requires_grad(false)), epsilon_);
    return linear(normed.view({T, I}) * norm_scale.to(wide), w_o, b_o, type);
  }

  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override {
    return std::make_unique<RecurrentState>(
        std::vector<std::vector<int64_t>>{{options_.width - 1, conv.size(0)},
                                          {options_.heads, options_.state, options_.head_dim}},
        shape.tensors);
  }
  /// Decay, what is added, what is read.
  int64_t flops_over_keys(int64_t) const override { return 5 * channels() * options_.state; }
  int64_t state_numbers(int64_t) const override {
    return (options_.width - 1) * conv.size(0) + channels() * options_.state;
  }

 private:
  int64_t channels() const { return options_.heads * options_.head_dim; }

  Mamba2 options_;
  ops::Activation activation_;
  double epsilon_;
  Tensor w_in, conv, conv_bias, dt_bias, a_log, d, norm_scale, w_o, b_in, b_o;
};

}  // namespace

MOE_KIND(mixers, mamba2, Mamba2Mixer, Mamba2)

}  // namespace moe::layers
