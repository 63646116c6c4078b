// T tokens, D width, H query heads, G key-value heads, P width of queries and keys, V width of
// values.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <moe/base/error.h>
#include <moe/layers/attend_sequences.h>
#include <moe/layers/linear.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/norm.h>
#include <moe/ops/pointwise.h>

namespace moe {

void Attention::validate(const std::string& place) const {
  const auto key = [&](const char* name) { return detail::dotted(place, name); };
  check<ConfigError>(heads > 0 && kv_heads >= 0 && heads % std::max<int64_t>(1, kv_heads) == 0,
                     "config", "expected '", key("heads"), "' to be a multiple of kv_heads, got ",
                     heads, " and ", kv_heads, ". Change one of them.");
  for (const auto& [name, value] :
       {std::pair{"head_dim", head_dim}, std::pair{"value_dim", value_dim},
        std::pair{"window", window}, std::pair{"chunk", chunk}})
    check<ConfigError>(value >= 0, "config", "expected '", key(name), "' of at least 0, got ",
                       value, ". Correct it.");
  check<ConfigError>(window == 0 || chunk == 0, "config", "expected '", key("window"),
                     "' or chunk, got both. Set one of them to 0.");
  check_one_of("config", key("qk_norm"), qk_norm, {"none", "head", "projection"});
  check_one_of("config", key("qk_norm_position"), qk_norm_position, {"before", "after"});
  for (const auto& [name, value] :
       {std::pair{"scale", scale}, std::pair{"softcap", softcap}, std::pair{"clip", clip},
        std::pair{"temperature_scale", temperature_scale},
        std::pair{"temperature_offset", temperature_offset}})
    check<ConfigError>(std::isfinite(value) && value >= 0, "config", "expected '", key(name),
                       "' of at least 0, got ", value, ". Correct it.");
  check<ConfigError>(std::isfinite(value_scale), "config", "expected a finite '",
                     key("value_scale"), "', got ", value_scale, ". Correct it.");
  check<ConfigError>(temperature_scale == 0 || temperature_floor > 0, "config", "expected '",
                     key("temperature_floor"), "' above 0 beside temperature_scale, got ",
                     temperature_floor, ". Set it to the positions of one temperature.");
  check<ConfigError>(!shared_key_value || value_dim == 0 || value_dim == head_dim, "config",
                     "expected '", key("value_dim"), "' = head_dim beside shared_key_value, got ",
                     value_dim, ". Leave it out.");
  check<ConfigError>(relative.buckets == 0 || (softcap == 0 && !sinks), "config", "expected '",
                     key("relative"), "' without softcap and sinks, got both. Leave one out.");
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

/// Each row of numbers over its root mean square, in x's own type.
Tensor over_rms(const Tensor& x, double epsilon) {
  const Tensor wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  return (wide * (wide.square().mean(-1, true) + epsilon).rsqrt()).to(x.scalar_type());
}

/// sigmoid(x) in x's own type.
Tensor gate_of(const Tensor& x) {
  const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return ops::sigmoid(x.to(type)).to(x.scalar_type());
}

class AttentionMixer final : public Mixer {
 public:
  AttentionMixer(const MixerShape& shape, const Attention& options);

  /// Throws moe::Error beside a state: for another number of sequences or other lengths than it
  /// has, for gradients, and where a sequence grows beyond its capacity.
  Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) override;
  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override;
  int64_t flops_over_keys(int64_t keys) const override;
  int64_t state_numbers(int64_t positions) const override;
  void follow(const Mixer& earlier) override;

 private:
  void add_weights(int64_t D);
  Norm new_norm(const MixerShape& shape, int64_t width) const;
  Tensor clipped(const Tensor& x) const {
    return options_.clip > 0 ? x.clamp(-options_.clip, options_.clip) : x;
  }
  /// y (T, H, P) normalised as qk_norm says.
  Tensor normalised(const Tensor& y_THP, Norm& norm) const;
  /// Queries or keys as they were projected: clipped, and normalised where that comes before the
  /// rotation.
  Tensor prepared(const Tensor& y_THP, Norm& norm) const;
  Tensor values_of(const Tensor& v_TGV) const;
  /// Queries times the temperature of their positions.
  Tensor tempered(const Tensor& q_THP, const Sequences& sequences) const;
  Reach reach() const { return {.window = options_.window, .chunk = options_.chunk}; }

  Attention options_;
  bool causal_;
  double norm_epsilon_;
  Tensor w_q, w_k, w_v, w_o, b_q, b_k, b_v, b_o, w_gate, b_gate, sinks_H;
  Tensor position_bias_BH;  // its own, or that of the layer it shares
  Norm q_norm{nullptr}, k_norm{nullptr};
};

AttentionMixer::AttentionMixer(const MixerShape& shape, const Attention& options)
    : Mixer(shape.tensors),
      options_(options),
      causal_(shape.causal),
      norm_epsilon_(shape.norm_epsilon) {
  auto& o = options_;
  o.resolve();
  const int64_t D = shape.d_model;
  check<ConfigError>(o.head_dim > 0 || D % o.heads == 0, kPlaceOfAttention,
                     "expected d_model to be a multiple of heads, got ", D, " and ", o.heads,
                     ". Change one of them, or set head_dim.");
  if (o.head_dim == 0) o.head_dim = D / o.heads;
  if (o.value_dim == 0) o.value_dim = o.head_dim;
  const int64_t turning = turning_width(o.rope, o.head_dim);
  check<ConfigError>(o.head_dim > 0 && turning % 2 == 0, kPlaceOfAttention,
                     "expected an even head width to turn, got ", turning, " of ", o.head_dim,
                     ". Set head_dim, or make d_model a multiple of twice the heads.");
  check<ConfigError>(o.rope.kind == "none" || turning > 0, kPlaceOfAttention,
                     "expected a share of a head that turns, got none of ", o.head_dim,
                     ". Raise rope.share, or set rope.kind = none.");
  check<ConfigError>(causal_ || (o.window == 0 && o.chunk == 0), kPlaceOfAttention,
                     "expected a window or chunks beside causal attention only, got ",
                     std::max(o.window, o.chunk), ". Set window = 0 and chunk = 0.");
  check<ConfigError>(!o.shared_key_value || o.value_dim == o.head_dim, kPlaceOfAttention,
                     "expected value_dim = head_dim beside shared_key_value, got ", o.value_dim,
                     " and ", o.head_dim, ". Leave value_dim out.");
  add_weights(D);
  if (o.qk_norm == "none") return;
  q_norm = register_module("q_norm", new_norm(shape, o.heads * o.head_dim));
  k_norm = register_module("k_norm", new_norm(shape, o.kv_heads * o.head_dim));
}

void AttentionMixer::add_weights(int64_t D) {
  const auto& o = options_;
  const int64_t Q = o.heads * o.head_dim, K = o.kv_heads * o.head_dim,
                KV = o.kv_heads * o.value_dim, HV = o.heads * o.value_dim;
  w_q = add_parameter("w_q", {Q, D}, {});
  w_k = add_parameter("w_k", {K, D}, {});
  if (!o.shared_key_value) w_v = add_parameter("w_v", {KV, D}, {});
  w_o = add_parameter("w_o", {D, HV}, {.residual = true});
  if (o.bias) {
    b_q = add_parameter("b_q", {Q}, {.role = Role::kBias});
    b_k = add_parameter("b_k", {K}, {.role = Role::kBias});
    if (!o.shared_key_value) b_v = add_parameter("b_v", {KV}, {.role = Role::kBias});
  }
  if (o.output_bias) b_o = add_parameter("b_o", {D}, {.role = Role::kBias});
  if (o.gate) w_gate = add_parameter("w_gate", {HV, D}, {});
  if (o.gate && o.gate_bias) b_gate = add_parameter("b_gate", {HV}, {.role = Role::kBias});
  if (o.relative.buckets > 0 && !o.relative.shared)
    position_bias_BH =
        add_parameter("position_bias", {o.relative.buckets, o.heads}, {.role = Role::kBias});
  if (o.sinks) sinks_H = add_parameter("sinks", {o.heads}, {.role = Role::kBias});
}

Norm AttentionMixer::new_norm(const MixerShape& shape, int64_t width) const {
  const auto& kind = options_.qk_norm_kind.empty() ? shape.norm : options_.qk_norm_kind;
  return Norm(kind, options_.qk_norm == "head" ? options_.head_dim : width, shape.norm_epsilon,
              shape.tensors);
}

Tensor AttentionMixer::normalised(const Tensor& y_THP, Norm& norm) const {
  if (!norm) return y_THP;
  const auto type = y_THP.scalar_type();
  if (options_.qk_norm == "head") return norm(y_THP).to(type);
  return norm(y_THP.flatten(1)).to(type).view(y_THP.sizes());
}

Tensor AttentionMixer::prepared(const Tensor& y_THP, Norm& norm) const {
  if (options_.qk_norm_position == "after") return clipped(y_THP);
  return options_.qk_norm == "projection" ? clipped(normalised(y_THP, norm))
                                          : normalised(clipped(y_THP), norm);
}

Tensor AttentionMixer::values_of(const Tensor& v_TGV) const {
  Tensor out_TGV = clipped(v_TGV);
  if (options_.value_norm) out_TGV = over_rms(out_TGV, norm_epsilon_);
  return options_.value_scale == 1 ? out_TGV : out_TGV * options_.value_scale;
}

Tensor AttentionMixer::tempered(const Tensor& q_THP, const Sequences& sequences) const {
  const auto& o = options_;
  if (o.temperature_scale == 0) return q_THP;
  const Tensor position_T = sequences.position_T(q_THP.device()).to(at::kDouble);
  const Tensor factor_T =
      ((position_T + o.temperature_offset) / o.temperature_floor).floor().log1p() *
          o.temperature_scale +
      1;
  return q_THP * factor_T.to(q_THP.scalar_type()).view({-1, 1, 1});
}

Tensor AttentionMixer::forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) {
  const int64_t T = x_TD.size(0), P = options_.head_dim, V = options_.value_dim;
  Sequences sequences = context.tokens.sequences;
  if (sequences.count() == 0) sequences = Sequences::equal(1, T);
  check(sequences.tokens() == T, kPlaceOfAttention, "expected sequences of the call's ", T,
        " tokens, got ", sequences.tokens(), ". Describe exactly the tokens that are passed.");
  const auto type = context.compute_type(x_TD);
  const Tensor x = x_TD.to(type);
  const auto project = [&](const Tensor& w, const Tensor& b, int64_t heads, int64_t width) {
    return linear(x, w, b, type).view({T, heads, width});
  };
  const Tensor raw_TGP = project(w_k, b_k, options_.kv_heads, P);
  Tensor q_THP = prepared(project(w_q, b_q, options_.heads, P), q_norm),
         k_TGP = prepared(raw_TGP, k_norm);
  if (options_.rope.kind != "none") {
    const auto table = rope_table(options_.rope, sequences, P, q_THP.options());
    q_THP = ops::rope(q_THP, table), k_TGP = ops::rope(k_TGP, table);
  }
  if (options_.qk_norm_position == "after")
    q_THP = normalised(q_THP, q_norm), k_TGP = normalised(k_TGP, k_norm);
  q_THP = tempered(q_THP, sequences);
  const Tensor v_TGV =
      values_of(options_.shared_key_value ? raw_TGP : project(w_v, b_v, options_.kv_heads, V));

  AttendOptions attending;
  attending.causal = causal_;
  attending.window = options_.window;
  attending.chunk = options_.chunk;
  attending.scores = {.scale = options_.scale, .softcap = options_.softcap, .sinks_H = sinks_H};
  check(options_.relative.buckets == 0 || position_bias_BH.defined(), kPlaceOfAttention,
        "expected an earlier layer whose relative positions this one shares, got none. Set "
        "relative.shared = false in the first.");
  attending.relative = {position_bias_BH, options_.relative.max_distance};
  // Recomputation runs the same pass without gradients first, and must get the same numbers.
  attending.learns = context.training || at::GradMode::is_enabled();
  attending.dropout = context.training ? options_.dropout : 0;
  attending.random = context.random;
  const Tensor o_THV = state ? attend_with_state(q_THP, k_TGP, v_TGV, sequences, attending, *state)
                             : attend_sequences(q_THP, k_TGP, v_TGV, sequences.runs,
                                                context.tokens.first_token, attending);
  Tensor out = o_THV.reshape({T, options_.heads * V});
  if (w_gate.defined()) out = out * gate_of(linear(x, w_gate, b_gate, type));
  return linear(out, w_o, b_o, type);
}

std::unique_ptr<LayerState> AttentionMixer::new_state(const StateShape& shape) const {
  check(causal_, kPlaceOfAttention,
        "expected a causal model to go on from a state, got one whose tokens see what comes after "
        "them. Read the whole sequence in one call.");
  return std::make_unique<KeyValueState>(options_.kv_heads, options_.head_dim, options_.value_dim,
                                         reach(), shape);
}

void AttentionMixer::follow(const Mixer& earlier) {
  const auto* const other = dynamic_cast<const AttentionMixer*>(&earlier);
  const auto& mine = options_.relative;
  if (!other || !mine.shared || !other->position_bias_BH.defined()) return;
  check<ConfigError>(
      other->options_.relative.buckets == mine.buckets && other->options_.heads == options_.heads,
      kPlaceOfAttention, "expected a shared table of ", mine.buckets, " buckets and ",
      options_.heads, " heads, got one of ", other->options_.relative.buckets, " and ",
      other->options_.heads, ". Give both layers the same.");
  position_bias_BH = other->position_bias_BH;
}

int64_t AttentionMixer::flops_over_keys(int64_t keys) const {
  return 2 * options_.heads * (options_.head_dim + options_.value_dim) * reach().most(keys);
}

int64_t AttentionMixer::state_numbers(int64_t positions) const {
  return options_.kv_heads * (options_.head_dim + options_.value_dim) *
         KeyValueState::held(positions, reach());
}

}  // namespace

MOE_KIND(mixers, attention, AttentionMixer, Attention)

}  // namespace moe::layers
