// T tokens, D width, I channels, S numbers of state a channel, R width of the step sizes, W width
// of the convolution.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include <moe/base/error.h>
#include <moe/layers/linear.h>
#include <moe/layers/mixers/mamba.h>
#include <moe/layers/norm.h>
#include <moe/layers/recurrent_state.h>
#include <moe/ops/grouped.h>
#include <moe/ops/pointwise.h>
#include <moe/ops/selective_scan.h>

namespace moe {

void Mamba::validate(const std::string& place) const {
  layers::check_at_least(expand, 1, place, "expand");
  layers::check_at_least(state, 1, place, "state");
  layers::check_at_least(step_rank, 0, place, "step_rank");
  layers::check_at_least(width, 1, place, "width");
  ops::parse_activation(activation, detail::dotted(place, "activation"));
}

void Mamba::fill_in(int64_t d_model) {
  if (step_rank == 0) step_rank = (d_model + 15) / 16;
}

}  // namespace moe

namespace moe::layers {

namespace {

class MambaMixer final : public Mixer {
 public:
  MambaMixer(const MixerShape& shape, const Mamba& options)
      : Mixer(shape.tensors),
        options_(options),
        activation_(ops::parse_activation(options.activation, "mamba.activation")),
        channels_(options.expand * shape.d_model) {
    auto& o = options_;
    const int64_t D = shape.d_model, I = channels_, S = o.state;
    o.fill_in(D);
    const int64_t R = o.step_rank;
    w_in = add_parameter("w_in", {2 * I, D}, {.fused = {I, I}});
    conv = add_parameter("conv", {I, o.width}, {});
    if (o.conv_bias) conv_bias = add_parameter("conv_bias", {I}, {.role = Role::kBias});
    w_x = add_parameter("w_x", {R + 2 * S, I}, {.fused = {R, S, S}});
    if (o.norms) {
      const auto norm = [&](int64_t width) {
        return Norm("rmsnorm", width, shape.norm_epsilon, shape.tensors);
      };
      dt_norm = register_module("dt_norm", norm(R));
      b_norm = register_module("b_norm", norm(S));
      c_norm = register_module("c_norm", norm(S));
    }
    w_dt = add_parameter("w_dt", {I, R}, {});
    b_dt = add_parameter("b_dt", {I}, {.role = Role::kBias, .start = step_size_start(0.001, 0.1)});
    // Rates 1 … S in every channel.
    a_log = add_parameter(
        "a_log", {I, S}, {.role = Role::kBias, .start = [](Tensor values, const RandomStream&) {
                            values.copy_(at::arange(1, values.size(1) + 1, values.options()).log());
                          }});
    d = add_parameter("d", {I}, {.role = Role::kScale});
    w_o = add_parameter("w_o", {D, I}, {.residual = true});
    if (!o.bias) return;
    b_in = add_parameter("b_in", {2 * I}, {.role = Role::kBias});
    b_o = add_parameter("b_o", {D}, {.role = Role::kBias});
  }

  Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) override {
    const RecurrentCall call(x_TD, context, state, "layers/mamba");
    const auto type = context.compute_type(x_TD);
    const auto wide = recurrent_type(type);
    const int64_t I = channels_, S = options_.state, R = options_.step_rank;
    const Tensor all = linear(x_TD, w_in, b_in, type).to(wide);
    const Tensor z_TI = all.narrow(1, I, I);
    ops::ScanInputs in;
    in.x_TI = activated(
        causal_convolution(all.narrow(1, 0, I), conv, conv_bias, call.runs(), call.memory(0)),
        activation_);
    const Tensor of_x = linear(in.x_TI, w_x, {}, type);
    const auto part = [&](int64_t begin, int64_t width, Norm norm) {
      const Tensor out = of_x.narrow(1, begin, width);
      return (norm ? norm(out) : out).to(wide).contiguous();
    };
    in.dt_TI = ops::softplus(linear(part(0, R, dt_norm), w_dt, {}, type).to(wide) + b_dt.to(wide));
    in.b_TS = part(R, S, b_norm);
    in.c_TS = part(R + S, S, c_norm);
    in.a_IS = a_log.to(wide).exp().neg();
    const Tensor y_TI =
        ops::selective_scan(in, call.offsets(), call.memory(1)) + in.x_TI * d.to(wide);
    call.finish();
    return linear(y_TI * ops::silu(z_TI), w_o, b_o, type);
  }

  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override {
    return std::make_unique<RecurrentState>(
        std::vector<std::vector<int64_t>>{{options_.width - 1, channels_},
                                          {channels_, options_.state}},
        shape.tensors);
  }
  /// Decay, what is added, what is read.
  int64_t flops_over_keys(int64_t) const override { return 6 * channels_ * options_.state; }
  int64_t state_numbers(int64_t) const override {
    return (options_.width - 1 + options_.state) * channels_;
  }

 private:
  Mamba options_;
  ops::Activation activation_;
  int64_t channels_;
  Tensor w_in, conv, conv_bias, w_x, w_dt, b_dt, a_log, d, w_o, b_in, b_o;
  Norm dt_norm{nullptr}, b_norm{nullptr}, c_norm{nullptr};
};

}  // namespace

MOE_KIND(mixers, mamba, MambaMixer, Mamba)

}  // namespace moe::layers
