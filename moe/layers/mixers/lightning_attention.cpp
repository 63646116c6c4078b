// T tokens, D width, H heads, P head width.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/layers/linear.h>
#include <moe/layers/mixers/lightning_attention.h>
#include <moe/layers/norm.h>
#include <moe/layers/recurrent_state.h>
#include <moe/ops/grouped.h>
#include <moe/ops/linear_recurrence.h>
#include <moe/ops/pointwise.h>

namespace moe {

void LightningAttention::validate(const std::string& place) const {
  layers::check_at_least(heads, 1, place, "heads");
  layers::check_at_least(head_dim, 0, place, "head_dim");
  ops::parse_activation(activation, detail::dotted(place, "activation"));
  for (const auto& [name, value] :
       {std::pair{"decay", decay}, std::pair{"norm_epsilon", norm_epsilon}})
    check<ConfigError>(std::isfinite(value) && value >= 0, "config", "expected '",
                       detail::dotted(place, name), "' to be finite and at least 0, got ", value,
                       ". Correct it.");
}

void LightningAttention::fill_in(int64_t d_model) {
  if (head_dim == 0) head_dim = std::max<int64_t>(1, d_model / heads);
}

}  // namespace moe

namespace moe::layers {

namespace {

class LightningAttentionMixer final : public Mixer {
 public:
  LightningAttentionMixer(const MixerShape& shape, const LightningAttention& options)
      : Mixer(shape.tensors),
        options_(options),
        activation_(ops::parse_activation(options.activation, "lightning_attention.activation")) {
    auto& o = options_;
    const int64_t D = shape.d_model;
    o.fill_in(D);
    const int64_t all = o.heads * o.head_dim;
    w_q = add_parameter("w_q", {all, D}, {});
    w_k = add_parameter("w_k", {all, D}, {});
    w_v = add_parameter("w_v", {all, D}, {});
    w_gate = add_parameter("w_gate", {all, D}, {});
    norm = register_module("norm", Norm("rmsnorm", all, o.norm_epsilon, shape.tensors));
    w_o = add_parameter("w_o", {D, all}, {.residual = true});
  }

  Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) override {
    const RecurrentCall call(x_TD, context, state, "layers/lightning_attention");
    const auto type = context.compute_type(x_TD);
    const auto wide = recurrent_type(type);
    const int64_t T = x_TD.size(0), H = options_.heads, P = options_.head_dim;
    const Tensor x = x_TD.to(type);
    const auto project = [&](const Tensor& w) { return linear(x, w, {}, type).to(wide); };
    const auto heads_of = [&](const Tensor& w) {
      return activated(project(w), activation_).view({T, H, P});
    };
    ops::RecurrenceInputs in;
    in.q_TGK = heads_of(w_q);
    in.k_TGK = heads_of(w_k);
    in.v_THV = heads_of(w_v);
    in.log_decay_THK = log_decay_H(in.v_THV).view({1, H, 1}).expand({T, H, 1});
    const Tensor o_THP = ops::linear_recurrence(in, call.offsets(), call.memory(0));
    call.finish();
    const Tensor y = norm(o_THP.view({T, H * P})) * ops::sigmoid(project(w_gate));
    return linear(y, w_o, {}, type);
  }

  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override {
    const int64_t H = options_.heads, P = options_.head_dim;
    return std::make_unique<RecurrentState>(std::vector<std::vector<int64_t>>{{H, P, P}},
                                            shape.tensors);
  }
  /// Decay, what is added, what is read.
  int64_t flops_over_keys(int64_t) const override { return 5 * state_numbers(0); }
  int64_t state_numbers(int64_t) const override {
    return options_.heads * options_.head_dim * options_.head_dim;
  }

 private:
  Tensor log_decay_H(const Tensor& like) const {
    const int64_t H = options_.heads;
    Tensor out_H = at::empty({H}, at::kDouble);
    auto* out = out_H.mutable_data_ptr<double>();
    for (int64_t h = 0; h < H; ++h)
      out[h] =
          -options_.decay * std::exp2(-8 * static_cast<double>(h + 1) / static_cast<double>(H));
    return out_H.to(like.device(), like.scalar_type());
  }

  LightningAttention options_;
  ops::Activation activation_;
  Tensor w_q, w_k, w_v, w_gate, w_o;
  Norm norm{nullptr};
};

}  // namespace

MOE_KIND(mixers, lightning_attention, LightningAttentionMixer, LightningAttention)

}  // namespace moe::layers
