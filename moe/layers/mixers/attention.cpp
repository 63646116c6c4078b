// T tokens, D width, H query heads, G key-value heads, P head width, N sequences, L their length.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>

#include <moe/base/error.h>
#include <moe/layers/attend_sequences.h>
#include <moe/layers/linear.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/norm.h>
#include <moe/ops/rope.h>

namespace moe {

void Rope::validate(const std::string& place) const {
  const auto key = [&](const char* name) { return detail::dotted(place, name); };
  check_one_of("config", key("kind"), kind, {"halves", "interleaved", "none"});
  check<ConfigError>(std::isfinite(theta) && theta > 0, "config", "expected '", key("theta"),
                     "' above 0, got ", theta, ". Correct it.");
  check<ConfigError>(share > 0 && share <= 1, "config", "expected '", key("share"),
                     "' in (0, 1], got ", share, ". Correct it.");
}

void Attention::validate(const std::string& place) const {
  const auto key = [&](const char* name) { return detail::dotted(place, name); };
  check<ConfigError>(heads > 0 && kv_heads >= 0 && heads % std::max<int64_t>(1, kv_heads) == 0,
                     "config", "expected '", key("heads"), "' to be a multiple of kv_heads, got ",
                     heads, " and ", kv_heads, ". Change one of them.");
  for (const auto& [name, value] : {std::pair{"head_dim", head_dim}, std::pair{"window", window}})
    check<ConfigError>(value >= 0, "config", "expected '", key(name), "' of at least 0, got ",
                       value, ". Correct it.");
  check_one_of("config", key("qk_norm"), qk_norm, {"none", "head", "projection"});
  check<ConfigError>(dropout >= 0 && dropout < 1, "config", "expected '", key("dropout"),
                     "' in [0, 1), got ", dropout, ". Correct it.");
}

void Attention::resolve() {
  if (kv_heads == 0) kv_heads = heads;
}

}  // namespace moe

namespace moe::layers {

namespace {

constexpr const char* kPlaceOfAttention = "layers/attention";

/// Width of a head that rotary positions rotate; even.
int64_t turning(const Attention& o) {
  if (o.rope.kind == "none") return 0;
  return static_cast<int64_t>(std::llround(o.rope.share * static_cast<double>(o.head_dim)));
}

/// Parameters w_q (H·P, D), w_k, w_v (G·P, D), w_o (D, H·P), optional biases b_…, and norms q_norm,
/// k_norm.
class AttentionMixer final : public Mixer {
 public:
  AttentionMixer(const MixerShape& shape, const Attention& options);

  /// Throws moe::Error beside a state: for another number of sequences or other lengths than it
  /// has, for gradients, and where a sequence grows beyond its capacity.
  Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) override;
  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override;
  int64_t flops_over_keys(int64_t keys) const override;
  int64_t state_numbers(int64_t positions) const override;

 private:
  /// Turned by positions where the options say so.
  std::pair<Tensor, Tensor> turn(const Tensor& q_THP, const Tensor& k_TGP,
                                 const Sequences& sequences) const;

  Attention options_;
  bool causal_;
  Tensor w_q, w_k, w_v, w_o, b_q, b_k, b_v, b_o;
  Norm q_norm{nullptr}, k_norm{nullptr};
};

AttentionMixer::AttentionMixer(const MixerShape& shape, const Attention& options)
    : Mixer(shape.tensors), options_(options), causal_(shape.causal) {
  auto& o = options_;
  o.resolve();
  const int64_t D = shape.d_model;
  check<ConfigError>(o.head_dim > 0 || D % o.heads == 0, kPlaceOfAttention,
                     "expected d_model to be a multiple of heads, got ", D, " and ", o.heads,
                     ". Change one of them, or set head_dim.");
  if (o.head_dim == 0) o.head_dim = D / o.heads;
  check<ConfigError>(o.head_dim > 0 && turning(o) % 2 == 0, kPlaceOfAttention,
                     "expected an even head width to turn, got ", turning(o), " of ", o.head_dim,
                     ". Set head_dim, or make d_model a multiple of twice the heads.");
  check<ConfigError>(causal_ || o.window == 0, kPlaceOfAttention,
                     "expected a window beside causal attention only, got ", o.window,
                     ". Set window = 0.");
  const int64_t Q = o.heads * o.head_dim, KV = o.kv_heads * o.head_dim;
  w_q = add_parameter("w_q", {Q, D}, {});
  w_k = add_parameter("w_k", {KV, D}, {});
  w_v = add_parameter("w_v", {KV, D}, {});
  w_o = add_parameter("w_o", {D, Q}, {.residual = true});
  if (o.bias) {
    b_q = add_parameter("b_q", {Q}, {.role = Role::kBias});
    b_k = add_parameter("b_k", {KV}, {.role = Role::kBias});
    b_v = add_parameter("b_v", {KV}, {.role = Role::kBias});
  }
  if (o.output_bias) b_o = add_parameter("b_o", {D}, {.role = Role::kBias});
  if (o.qk_norm == "none") return;
  const auto norm = [&](int64_t width) {
    return Norm(shape.norm, o.qk_norm == "head" ? o.head_dim : width, shape.norm_epsilon,
                shape.tensors);
  };
  q_norm = register_module("q_norm", norm(Q));
  k_norm = register_module("k_norm", norm(KV));
}

std::pair<Tensor, Tensor> AttentionMixer::turn(const Tensor& q_THP, const Tensor& k_TGP,
                                               const Sequences& sequences) const {
  const int64_t width = turning(options_);
  if (width == 0) return {q_THP, k_TGP};
  const at::Device device = q_THP.device();
  Tensor position_R, row_T;
  if (!sequences.first_position.empty()) {
    position_R = sequences.position_T(device);  // few tokens, far into their sequences
  } else {
    position_R = at::arange(sequences.runs.longest(), at::TensorOptions(at::kLong).device(device));
    if (sequences.runs.equal_length() == 0) row_T = sequences.runs.place_T(device);
  }
  const auto table = ops::rope_table(position_R, row_T, width, options_.rope.theta,
                                     options_.rope.kind == "interleaved", q_THP.options());
  return {ops::rope(q_THP, table), ops::rope(k_TGP, table)};
}

Tensor AttentionMixer::forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) {
  const int64_t T = x_TD.size(0), P = options_.head_dim;
  Sequences sequences = context.tokens.sequences;
  if (sequences.count() == 0) sequences = Sequences::equal(1, T);
  check(sequences.tokens() == T, kPlaceOfAttention, "expected sequences of the call's ", T,
        " tokens, got ", sequences.tokens(), ". Describe exactly the tokens that are passed.");
  const auto type = context.compute_type(x_TD);
  const Tensor x = x_TD.to(type);
  const auto project = [&](const Tensor& w, const Tensor& b, int64_t heads, Norm norm) {
    const Tensor y = linear(x, w, b, type), y_THP = y.view({T, heads, P});
    if (!norm) return y_THP;
    if (options_.qk_norm == "head") return norm(y_THP).to(type);
    return norm(y).to(type).view({T, heads, P});
  };
  const auto [q_THP, k_TGP] = turn(project(w_q, b_q, options_.heads, q_norm),
                                   project(w_k, b_k, options_.kv_heads, k_norm), sequences);
  const Tensor v_TGP = project(w_v, b_v, options_.kv_heads, nullptr);

  AttendOptions attending = {.causal = causal_, .window = options_.window};
  // Recomputation runs the same pass without gradients first, and must get the same numbers.
  attending.learns = context.training || at::GradMode::is_enabled();
  attending.dropout = context.training ? options_.dropout : 0;
  attending.random = context.random;
  const Tensor o_THP = state ? attend_with_state(q_THP, k_TGP, v_TGP, sequences, attending, *state)
                             : attend_sequences(q_THP, k_TGP, v_TGP, sequences.runs,
                                                context.tokens.first_token, attending);
  return linear(o_THP.reshape({T, options_.heads * P}), w_o, b_o, type);
}

std::unique_ptr<LayerState> AttentionMixer::new_state(const StateShape& shape) const {
  check(causal_, kPlaceOfAttention,
        "expected a causal model to go on from a state, got one whose tokens see what comes after "
        "them. Read the whole sequence in one call.");
  return std::make_unique<KeyValueState>(options_.kv_heads, options_.head_dim, options_.window,
                                         shape);
}

int64_t AttentionMixer::flops_over_keys(int64_t keys) const {
  const int64_t seen = options_.window > 0 ? std::min(keys, options_.window) : keys;
  return 4 * options_.heads * options_.head_dim * seen;
}

int64_t AttentionMixer::state_numbers(int64_t positions) const {
  return 2 * options_.kv_heads * options_.head_dim *
         KeyValueState::held(positions, options_.window);
}

}  // namespace

MOE_KIND(mixers, attention, AttentionMixer, Attention)

}  // namespace moe::layers
