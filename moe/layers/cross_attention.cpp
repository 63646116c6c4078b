// T tokens, M tokens of the memory, D width, H heads, P width of a head, Q queries and C keys of
// one sequence.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <moe/base/error.h>
#include <moe/layers/attend.h>
#include <moe/layers/cross_attention.h>
#include <moe/layers/linear.h>

namespace moe {

void CrossAttention::validate(const std::string& place) const {
  const auto key = [&](const char* name) { return detail::dotted(place, name); };
  for (const auto& [name, value] : {std::pair{"heads", heads}, std::pair{"head_dim", head_dim}})
    check<ConfigError>(value >= 0, "config", "expected '", key(name), "' of at least 0, got ",
                       value, ". Correct it.");
  check<ConfigError>(std::isfinite(scale) && scale >= 0, "config", "expected '", key("scale"),
                     "' finite and at least 0, got ", scale, ". Correct it.");
}

}  // namespace moe

namespace moe::layers {

namespace {

constexpr const char* kPlaceOfCrossAttention = "layers/cross_attention";

/// Keys and values (C, H, P) of the memory of each sequence; undefined where none was read yet.
struct MemoryState final : LayerState {
  void join(int64_t count) override { slots.resize(slots.size() + static_cast<size_t>(count)); }
  void keep(const std::vector<int64_t>& kept) override {
    std::vector<std::pair<Tensor, Tensor>> stay;
    for (const int64_t slot : kept) stay.push_back(slots.at(static_cast<size_t>(slot)));
    slots = std::move(stay);
  }
  int64_t bytes() const override {
    int64_t out = 0;
    for (const auto& [key, value] : slots)
      if (key.defined()) out += static_cast<int64_t>(key.nbytes() + value.nbytes());
    return out;
  }

  std::vector<std::pair<Tensor, Tensor>> slots;
};

class CrossAttentionMixer final : public Mixer {
 public:
  CrossAttentionMixer(const MixerShape& shape, const CrossAttention& options)
      : Mixer(shape.tensors), options_(options) {
    auto& o = options_;
    const int64_t D = shape.d_model;
    check<ConfigError>(o.heads > 0 && (o.head_dim > 0 || D % o.heads == 0), kPlaceOfCrossAttention,
                       "expected heads above 0 that divide d_model=", D, ", got ", o.heads,
                       ". Change one of them, or set head_dim.");
    if (o.head_dim == 0) o.head_dim = D / o.heads;
    const int64_t Q = o.heads * o.head_dim;
    w_q = add_parameter("w_q", {Q, D}, {});
    w_k = add_parameter("w_k", {Q, D}, {});
    w_v = add_parameter("w_v", {Q, D}, {});
    w_o = add_parameter("w_o", {D, Q}, {.residual = true});
    if (!o.bias) return;
    b_q = add_parameter("b_q", {Q}, {.role = Role::kBias});
    b_k = add_parameter("b_k", {Q}, {.role = Role::kBias});
    b_v = add_parameter("b_v", {Q}, {.role = Role::kBias});
    b_o = add_parameter("b_o", {D}, {.role = Role::kBias});
  }

  Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) override {
    const int64_t T = x_TD.size(0), H = options_.heads, P = options_.head_dim;
    const auto type = context.compute_type(x_TD);
    Sequences sequences = context.tokens.sequences;
    if (sequences.count() == 0) sequences = Sequences::equal(1, T);
    check(sequences.tokens() == T, kPlaceOfCrossAttention, "expected sequences of the call's ", T,
          " tokens, got ", sequences.tokens(), ". Describe exactly the tokens that are passed.");
    const Memory& memory = checked(context, sequences);
    const Tensor m_MD = memory.hidden_MD.to(type);
    const auto heads = [&](const Tensor& x, const Tensor& w, const Tensor& b) {
      return linear(x, w, b, type).view({x.size(0), H, P});
    };
    const Tensor q_THP = heads(x_TD.to(type), w_q, b_q);
    const Tensor k_MHP = heads(m_MD, w_k, b_k), v_MHP = heads(m_MD, w_v, b_v);
    const Tensor o_THP =
        state ? with_state(q_THP, k_MHP, v_MHP, sequences.runs, memory.sequences.runs, *state)
              : plain(q_THP, k_MHP, v_MHP, sequences.runs, memory.sequences.runs, context);
    return linear(o_THP.reshape({T, H * P}), w_o, b_o, type);
  }

  std::unique_ptr<LayerState> new_state(const StateShape&) const override {
    return std::make_unique<MemoryState>();
  }
  int64_t flops_over_keys(int64_t keys) const override {
    return 4 * options_.heads * options_.head_dim * keys;
  }
  int64_t state_numbers(int64_t positions) const override {
    return 2 * options_.heads * options_.head_dim * positions;
  }

 private:
  const Memory& checked(const LayerContext& context, const Sequences& sequences) const {
    check(context.memory != nullptr, kPlaceOfCrossAttention,
          "expected a memory to attend to, got none. Blocks with cross attention belong into the "
          "decoder of an encoder-decoder.");
    const Memory& memory = *context.memory;
    check(memory.hidden_MD.dim() == 2 && memory.hidden_MD.size(1) == w_k.size(1) &&
              memory.sequences.tokens() == memory.hidden_MD.size(0),
          kPlaceOfCrossAttention, "expected a memory of shape (M, D=", w_k.size(1),
          ") whose sequences have M tokens, got ", memory.hidden_MD.sizes(), " and ",
          memory.sequences.tokens(), " tokens. Describe exactly what the encoder read.");
    check(memory.sequences.count() == sequences.count(), kPlaceOfCrossAttention,
          "expected a memory of ", sequences.count(), " sequences, as the call has, got ",
          memory.sequences.count(), ". Pass one text to the encoder for each of the decoder's.");
    return memory;
  }

  AttendOptions attending(bool learns) const {
    AttendOptions out = {.causal = false};
    out.scores.scale = options_.scale;
    out.learns = learns;
    return out;
  }

  /// Sequences of one length each, and memories of one, are one call; others go one by one.
  Tensor plain(const Tensor& q_THP, const Tensor& k_MHP, const Tensor& v_MHP, const Runs& queries,
               const Runs& keys, const LayerContext& context) const {
    const AttendOptions options = attending(context.training || at::GradMode::is_enabled());
    const int64_t N = queries.count(), H = options_.heads, P = options_.head_dim;
    for (int64_t n = 0; n < N; ++n) check_there(keys.length(n), queries.length(n), n);
    if (queries.equal_length() > 0 && keys.equal_length() > 0)
      return attend(q_THP.view({N, queries.equal_length(), H, P}),
                    k_MHP.view({N, keys.equal_length(), H, P}),
                    v_MHP.view({N, keys.equal_length(), H, P}), options)
          .reshape(q_THP.sizes());
    std::vector<Tensor> out = {q_THP.slice(0, 0, 0)};
    for (int64_t n = 0; n < N; ++n)
      if (queries.length(n) > 0)
        out.push_back(
            alone(run(q_THP, queries, n), run(k_MHP, keys, n), run(v_MHP, keys, n), options));
    return at::cat(out);
  }

  /// Keeps keys and values of memories that came with this call. Each sequence in memory of its
  /// own: what it gets does not depend on the others, to the bit.
  Tensor with_state(const Tensor& q_THP, const Tensor& k_MHP, const Tensor& v_MHP,
                    const Runs& queries, const Runs& keys, LayerState& state) const {
    auto* const held = dynamic_cast<MemoryState*>(&state);
    check(held && static_cast<int64_t>(held->slots.size()) == queries.count(),
          kPlaceOfCrossAttention, "expected a state of this layer with ", queries.count(),
          " slots, got another. Let sequences join and leave the state first.");
    check(
        !(at::GradMode::is_enabled() && q_THP.requires_grad()), kPlaceOfCrossAttention,
        "expected a state in evaluation without gradients only. Put an at::NoGradGuard around the "
        "call, or pass no state.");
    std::vector<Tensor> out = {q_THP.slice(0, 0, 0)};
    for (int64_t n = 0; n < queries.count(); ++n) {
      auto& [key, value] = held->slots[static_cast<size_t>(n)];
      if (keys.length(n) > 0) {
        key = run(k_MHP, keys, n).clone();
        value = run(v_MHP, keys, n).clone();
      }
      check_there(key.defined() ? key.size(0) : 0, queries.length(n), n);
      if (queries.length(n) > 0)
        out.push_back(alone(run(q_THP, queries, n).clone(), key.to(q_THP.scalar_type()),
                            value.to(q_THP.scalar_type()), attending(false)));
    }
    return at::cat(out);
  }

  static Tensor run(const Tensor& x_THP, const Runs& runs, int64_t n) {
    return x_THP.narrow(0, runs.begin(n), runs.length(n));
  }
  static Tensor alone(const Tensor& q_QHP, const Tensor& k_CHP, const Tensor& v_CHP,
                      const AttendOptions& options) {
    return attend(q_QHP.unsqueeze(0), k_CHP.unsqueeze(0), v_CHP.unsqueeze(0), options).squeeze(0);
  }
  static void check_there(int64_t keys, int64_t queries, int64_t n) {
    check(keys > 0 || queries == 0, kPlaceOfCrossAttention,
          "expected at least one token of memory for sequence ", n,
          ", got none. Give the encoder a text.");
  }

  CrossAttention options_;
  Tensor w_q, w_k, w_v, w_o, b_q, b_k, b_v, b_o;
};

}  // namespace

std::shared_ptr<Mixer> make_cross_attention(const MixerShape& shape,
                                            const CrossAttention& options) {
  return std::make_shared<CrossAttentionMixer>(shape, options);
}

}  // namespace moe::layers
