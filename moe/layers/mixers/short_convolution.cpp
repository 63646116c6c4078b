// T tokens, D width, W width of the convolution.
#include <ATen/TensorOperators.h>

#include <moe/base/error.h>
#include <moe/layers/linear.h>
#include <moe/layers/mixers/short_convolution.h>
#include <moe/layers/recurrent_state.h>

namespace moe {

void ShortConvolution::validate(const std::string& place) const {
  layers::check_at_least(width, 1, place, "width");
}

}  // namespace moe

namespace moe::layers {

namespace {

class ShortConvolutionMixer final : public Mixer {
 public:
  ShortConvolutionMixer(const MixerShape& shape, const ShortConvolution& options)
      : Mixer(shape.tensors), width_(options.width), d_model_(shape.d_model) {
    const int64_t D = d_model_;
    w_in = add_parameter("w_in", {3 * D, D}, {.fused = {D, D, D}});
    conv = add_parameter("conv", {D, width_}, {});
    w_o = add_parameter("w_o", {D, D}, {.residual = true});
    if (!options.bias) return;
    b_in = add_parameter("b_in", {3 * D}, {.role = Role::kBias});
    conv_bias = add_parameter("conv_bias", {D}, {.role = Role::kBias});
    b_o = add_parameter("b_o", {D}, {.role = Role::kBias});
  }

  Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) override {
    const RecurrentCall call(x_TD, context, state, "layers/short_convolution");
    const auto type = context.compute_type(x_TD);
    const Tensor all = linear(x_TD, w_in, b_in, type).to(recurrent_type(type));
    const auto third = [&](int64_t i) { return all.narrow(1, i * d_model_, d_model_); };
    const Tensor mixed_TD =
        causal_convolution(third(0) * third(2), conv, conv_bias, call.runs(), call.memory(0));
    call.finish();
    return linear(third(1) * mixed_TD, w_o, b_o, type);
  }

  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override {
    return std::make_unique<RecurrentState>(
        std::vector<std::vector<int64_t>>{{width_ - 1, d_model_}}, shape.tensors);
  }
  int64_t flops_over_keys(int64_t) const override { return 2 * d_model_; }
  int64_t state_numbers(int64_t) const override { return (width_ - 1) * d_model_; }

 private:
  int64_t width_, d_model_;
  Tensor w_in, conv, w_o, b_in, conv_bias, b_o;
};

}  // namespace

MOE_KIND(mixers, short_convolution, ShortConvolutionMixer, ShortConvolution)

}  // namespace moe::layers
