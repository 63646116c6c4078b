// T tokens, D width, G key heads, H value heads, K key width, V value width, W width of the
// convolution.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <moe/base/error.h>
#include <moe/layers/linear.h>
#include <moe/layers/mixers/gated_delta_net.h>
#include <moe/layers/norm.h>
#include <moe/layers/recurrent_state.h>
#include <moe/layers/unit_length.h>
#include <moe/ops/grouped.h>
#include <moe/ops/linear_recurrence.h>
#include <moe/ops/pointwise.h>

namespace moe {

void GatedDeltaNet::validate(const std::string& place) const {
  layers::check_at_least(key_heads, 1, place, "key_heads");
  for (const auto& [name, value] :
       {std::pair{"value_heads", value_heads}, std::pair{"key_dim", key_dim},
        std::pair{"value_dim", value_dim}})
    layers::check_at_least(value, 0, place, name);
  layers::check_at_least(width, 1, place, "width");
  ops::parse_activation(activation, detail::dotted(place, "activation"));
  check<ConfigError>(value_heads % key_heads == 0, "config", "expected '",
                     detail::dotted(place, "value_heads"), "' to be a multiple of key_heads, got ",
                     value_heads, " and ", key_heads, ". Change one of them.");
}

void GatedDeltaNet::resolve() {
  if (value_heads == 0) value_heads = key_heads;
}

void GatedDeltaNet::fill_in(int64_t d_model) {
  resolve();
  if (key_dim == 0) key_dim = std::max<int64_t>(1, d_model / key_heads);
  if (value_dim == 0) value_dim = key_dim;
}

}  // namespace moe

namespace moe::layers {

namespace {

class GatedDeltaNetMixer final : public Mixer {
 public:
  GatedDeltaNetMixer(const MixerShape& shape, const GatedDeltaNet& options)
      : Mixer(shape.tensors),
        options_(options),
        activation_(ops::parse_activation(options.activation, "gated_delta_net.activation")) {
    auto& o = options_;
    o.fill_in(shape.d_model);
    const int64_t D = shape.d_model;

    const int64_t keys = o.key_heads * o.key_dim, values = o.value_heads * o.value_dim;
    w_q = add_parameter("w_q", {keys, D}, {});
    w_k = add_parameter("w_k", {keys, D}, {});
    w_v = add_parameter("w_v", {values, D}, {});
    w_z = add_parameter("w_z", {values, D}, {});
    w_a = add_parameter("w_a", {o.value_heads, D}, {});
    w_b = add_parameter("w_b", {o.value_heads, D}, {});
    conv = add_parameter("conv", {2 * keys + values, o.width}, {});
    dt_bias = add_parameter("dt_bias", {o.value_heads},
                            {.role = Role::kBias, .start = step_size_start(0.001, 0.1)});
    a_log = add_parameter("a_log", {o.value_heads},
                          {.role = Role::kBias, .start = log_uniform_start(1, 16)});
    norm = register_module("norm", Norm("rmsnorm", o.value_dim, shape.norm_epsilon, shape.tensors));
    w_o = add_parameter("w_o", {D, values}, {.residual = true});
  }

  Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) override {
    const RecurrentCall call(x_TD, context, state, "layers/gated_delta_net");
    const auto type = context.compute_type(x_TD);
    const auto wide = recurrent_type(type);
    const int64_t T = x_TD.size(0), G = options_.key_heads, K = options_.key_dim,
                  H = options_.value_heads, V = options_.value_dim;
    const Tensor x = x_TD.to(type);
    const auto project = [&](const Tensor& w) { return linear(x, w, {}, type).to(wide); };
    const Tensor mixed =
        activated(causal_convolution(at::cat({project(w_q), project(w_k), project(w_v)}, 1), conv,
                                     {}, call.runs(), call.memory(0)),
                  activation_);
    ops::RecurrenceInputs in;
    in.q_TGK = of_length(mixed.narrow(1, 0, G * K).reshape({T, G, K}),
                         1 / std::sqrt(static_cast<double>(K)));
    in.k_TGK = of_length(mixed.narrow(1, G * K, G * K).reshape({T, G, K}), 1);
    in.v_THV = mixed.narrow(1, 2 * G * K, H * V).reshape({T, H, V});
    const Tensor step_TH = ops::softplus(project(w_a) + dt_bias.to(wide));
    in.log_decay_THK = (a_log.to(wide).exp().neg() * step_TH).unsqueeze(2);
    in.rate_TH = ops::sigmoid(project(w_b));
    const Tensor o_THV = ops::linear_recurrence(in, call.offsets(), call.memory(1));
    call.finish();
    const Tensor y_THV = norm(o_THV) * ops::silu(project(w_z)).view({T, H, V});
    return linear(y_THV.view({T, H * V}), w_o, {}, type);
  }

  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override {
    const auto& o = options_;
    return std::make_unique<RecurrentState>(
        std::vector<std::vector<int64_t>>{{o.width - 1, conv.size(0)},
                                          {o.value_heads, o.key_dim, o.value_dim}},
        shape.tensors);
  }
  /// Decay, what is known of the key, what is added, what is read.
  int64_t flops_over_keys(int64_t) const override { return 7 * memory_numbers(); }
  int64_t state_numbers(int64_t) const override {
    return (options_.width - 1) * conv.size(0) + memory_numbers();
  }

 private:
  int64_t memory_numbers() const {
    return options_.value_heads * options_.key_dim * options_.value_dim;
  }

  GatedDeltaNet options_;
  ops::Activation activation_;
  Tensor w_q, w_k, w_v, w_z, w_a, w_b, conv, dt_bias, a_log, w_o;
  Norm norm{nullptr};
};

}  // namespace

MOE_KIND(mixers, gated_delta_net, GatedDeltaNetMixer, GatedDeltaNet)

}  // namespace moe::layers
