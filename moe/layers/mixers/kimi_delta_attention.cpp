// T tokens, D width, H heads, P head width, W width of the convolutions.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>

#include <moe/base/error.h>
#include <moe/layers/linear.h>
#include <moe/layers/mixers/kimi_delta_attention.h>
#include <moe/layers/norm.h>
#include <moe/layers/recurrent_state.h>
#include <moe/layers/unit_length.h>
#include <moe/ops/grouped.h>
#include <moe/ops/linear_recurrence.h>
#include <moe/ops/pointwise.h>

namespace moe {

void KimiDeltaAttention::validate(const std::string& place) const {
  layers::check_at_least(heads, 1, place, "heads");
  layers::check_at_least(head_dim, 0, place, "head_dim");
  layers::check_at_least(width, 1, place, "width");
  ops::parse_activation(activation, detail::dotted(place, "activation"));
}

void KimiDeltaAttention::fill_in(int64_t d_model) {
  if (head_dim == 0) head_dim = std::max<int64_t>(1, d_model / heads);
}

}  // namespace moe

namespace moe::layers {

namespace {

class KimiDeltaAttentionMixer final : public Mixer {
 public:
  KimiDeltaAttentionMixer(const MixerShape& shape, const KimiDeltaAttention& options)
      : Mixer(shape.tensors),
        options_(options),
        activation_(ops::parse_activation(options.activation, "kimi_delta_attention.activation")) {
    auto& o = options_;
    const int64_t D = shape.d_model, H = o.heads;
    o.fill_in(D);
    const int64_t P = o.head_dim, all = H * P;
    w_q = add_parameter("w_q", {all, D}, {});
    w_k = add_parameter("w_k", {all, D}, {});
    w_v = add_parameter("w_v", {all, D}, {});
    q_conv = add_parameter("q_conv", {all, o.width}, {});
    k_conv = add_parameter("k_conv", {all, o.width}, {});
    v_conv = add_parameter("v_conv", {all, o.width}, {});
    w_f_a = add_parameter("w_f_a", {P, D}, {});
    w_f_b = add_parameter("w_f_b", {all, P}, {});
    w_g_a = add_parameter("w_g_a", {P, D}, {});
    w_g_b = add_parameter("w_g_b", {all, P}, {});
    w_b = add_parameter("w_b", {H, D}, {});
    dt_bias = add_parameter("dt_bias", {all},
                            {.role = Role::kBias, .start = step_size_start(0.001, 0.1)});
    a_log = add_parameter("a_log", {H}, {.role = Role::kBias, .start = log_uniform_start(1, 16)});
    norm = register_module("norm", Norm("rmsnorm", P, shape.norm_epsilon, shape.tensors));
    w_o = add_parameter("w_o", {D, all}, {.residual = true});
  }

  Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) override {
    const RecurrentCall call(x_TD, context, state, "layers/kimi_delta_attention");
    const auto type = context.compute_type(x_TD);
    const auto wide = recurrent_type(type);
    const int64_t T = x_TD.size(0), H = options_.heads, P = options_.head_dim;
    const Tensor x = x_TD.to(type);
    const auto project = [&](const Tensor& from, const Tensor& w) {
      return linear(from, w, {}, type);
    };
    const auto convolved = [&](const Tensor& w, const Tensor& taps, size_t i) {
      return activated(
                 causal_convolution(project(x, w).to(wide), taps, {}, call.runs(), call.memory(i)),
                 activation_)
          .view({T, H, P});
    };
    ops::RecurrenceInputs in;
    in.q_TGK = of_length(convolved(w_q, q_conv, 0), 1 / std::sqrt(static_cast<double>(P)));
    in.k_TGK = of_length(convolved(w_k, k_conv, 1), 1);
    in.v_THV = convolved(w_v, v_conv, 2);
    const Tensor step =
        ops::softplus(project(project(x, w_f_a), w_f_b).to(wide) + dt_bias.to(wide));
    in.log_decay_THK = a_log.to(wide).exp().neg().unsqueeze(1) * step.view({T, H, P});
    in.rate_TH = ops::sigmoid(project(x, w_b).to(wide));
    const Tensor o_THP = ops::linear_recurrence(in, call.offsets(), call.memory(3));
    call.finish();
    const Tensor gate = ops::sigmoid(project(project(x, w_g_a), w_g_b).to(wide));
    return linear((norm(o_THP) * gate.view({T, H, P})).view({T, H * P}), w_o, {}, type);
  }

  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override {
    const int64_t H = options_.heads, P = options_.head_dim;
    const std::vector<int64_t> inputs = {options_.width - 1, H * P};
    return std::make_unique<RecurrentState>(
        std::vector<std::vector<int64_t>>{inputs, inputs, inputs, {H, P, P}}, shape.tensors);
  }
  /// Decay, what is known of the key, what is added, what is read.
  int64_t flops_over_keys(int64_t) const override { return 7 * memory_numbers(); }
  int64_t state_numbers(int64_t) const override {
    return 3 * (options_.width - 1) * options_.heads * options_.head_dim + memory_numbers();
  }

 private:
  int64_t memory_numbers() const { return options_.heads * options_.head_dim * options_.head_dim; }

  KimiDeltaAttention options_;
  ops::Activation activation_;
  Tensor w_q, w_k, w_v, q_conv, k_conv, v_conv, w_f_a, w_f_b, w_g_a, w_g_b, w_b, dt_bias, a_log,
      w_o;
  Norm norm{nullptr};
};

}  // namespace

MOE_KIND(mixers, kimi_delta_attention, KimiDeltaAttentionMixer, KimiDeltaAttention)

}  // namespace moe::layers
