// T tokens, D width, H heads, N and R numbers of a head without and with positions, P both, V width
// of values, Q and C ranks of compressed queries and of the latent.
#include <algorithm>
#include <cmath>
#include <optional>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <moe/base/error.h>
#include <moe/layers/indexer.h>
#include <moe/layers/latent_attend.h>
#include <moe/layers/linear.h>
#include <moe/layers/mixers/latent_attention.h>
#include <moe/layers/norm.h>

namespace moe {

void Indexer::validate(const std::string& place) const {
  const auto key = [&](const char* name) { return detail::dotted(place, name); };
  check<ConfigError>(heads >= 0, "config", "expected '", key("heads"), "' of at least 0, got ",
                     heads, ". Correct it.");
  check_one_of("config", key("rope_kind"), rope_kind, {"halves", "interleaved"});
  check<ConfigError>(
      !(shared && heads > 0), "config", "expected '", key("shared"),
      "' beside heads = 0 only: what shares a choice makes none. Change one of them.");
  if (!active()) return;
  check<ConfigError>(top_k > 0, "config", "expected '", key("top_k"), "' of at least 1, got ",
                     top_k, ". Say how many keys a token sees.");
  check<ConfigError>(shared || head_dim > 0, "config", "expected '", key("head_dim"),
                     "' of at least 1, got ", head_dim, ". Correct it.");
}

void LatentAttention::validate(const std::string& place) const {
  const auto key = [&](const char* name) { return detail::dotted(place, name); };
  const auto at_least = [&](const char* name, double value, double least) {
    check<ConfigError>(std::isfinite(value) && value >= least, "config", "expected '", key(name),
                       "' of at least ", least, ", got ", value, ". Correct it.");
  };
  at_least("heads", static_cast<double>(heads), 1);
  for (const auto& [name, value] :
       {std::pair{"q_rank", q_rank}, std::pair{"kv_rank", kv_rank}, std::pair{"nope_dim", nope_dim},
        std::pair{"rope_dim", rope_dim}, std::pair{"value_dim", value_dim}})
    at_least(name, static_cast<double>(value), 0);
  for (const auto& [name, value] :
       {std::pair{"scale", scale}, std::pair{"norm_epsilon", norm_epsilon},
        std::pair{"temperature_scale", temperature_scale},
        std::pair{"temperature_floor", temperature_floor},
        std::pair{"temperature_offset", temperature_offset}})
    at_least(name, value, 0);
  check<ConfigError>(temperature_scale == 0 || temperature_floor > 0, "config", "expected '",
                     key("temperature_floor"), "' above 0 beside a temperature_scale, got ",
                     temperature_floor, ". Say how many positions have one temperature.");
  check<ConfigError>(rope.share == 1, "config", "expected '", key("rope.share"), "' of 1, got ",
                     rope.share, ". Say with rope_dim how many numbers turn.");
  check<ConfigError>(rope.kind == "none" || rope_dim % 2 == 0, "config", "expected an even '",
                     key("rope_dim"), "', got ", rope_dim, ". Change it, or turn none.");
  check<ConfigError>(indexer.heads == 0 || q_rank > 0, "config", "expected '", key("q_rank"),
                     "' above 0 beside an indexer, which reads the compressed query. Set it.");
  check<ConfigError>(indexer.heads == 0 || rope.kind == "none" || indexer.head_dim >= rope_dim,
                     "config", "expected '", key("indexer.head_dim"),
                     "' of at least rope_dim = ", rope_dim, ", got ", indexer.head_dim,
                     ". Raise it.");
}

void LatentAttention::resolve() {
  if (nope_dim == 0) return;
  if (kv_rank == 0) kv_rank = 4 * nope_dim;
  if (rope_dim == 0) rope_dim = std::max<int64_t>(1, (nope_dim + 2) / 4) * 2;
  if (value_dim == 0) value_dim = nope_dim;
}

}  // namespace moe

namespace moe::layers {

namespace {

constexpr const char* kPlaceOfLatents = "layers/latent_attention";

/// Parameters and formula: mixers/latent_attention.h.
class LatentAttentionMixer final : public Mixer {
 public:
  LatentAttentionMixer(const MixerShape& shape, const LatentAttention& options);

  /// Throws moe::Error beside a state: for another number of sequences or other lengths than it
  /// has, for gradients, and where a sequence grows beyond its capacity.
  Tensor forward(const Tensor& x_TD, const LayerContext& context, LayerState* state) override;
  std::unique_ptr<LayerState> new_state(const StateShape& shape) const override;
  int64_t flops_over_keys(int64_t keys) const override;
  int64_t state_numbers(int64_t positions) const override {
    return (options_.kv_rank + options_.rope_dim + options_.indexer.head_dim) * positions;
  }

 private:
  /// What tokens give before they see each other.
  struct Projected {
    Tensor q_THP, latent_TC, shared_TR;
    std::optional<IndexerTokens> index;
  };
  Projected project(const Tensor& x_TD, const Sequences& sequences, at::ScalarType type);
  /// What the tokens see: chosen here, or by the layer that this one shares with. Null: all.
  const SeenPositions* seen(const Projected& tokens, const LayerContext& context, const Runs& runs,
                            const LatentState* state, SeenPositions& chosen) const;
  LatentState& checked(LayerState& state, const Sequences& sequences, const Tensor& x_TD) const;
  int64_t width() const { return options_.nope_dim + options_.rope_dim; }

  LatentAttention options_;
  bool causal_;
  Tensor w_q, w_q_a, w_q_b, w_kv_a, w_kv_b, w_o, b_q_a, b_kv_a, b_o;
  Norm q_norm{nullptr}, kv_norm{nullptr};
  KeyIndexer indexer{nullptr};
};

LatentAttentionMixer::LatentAttentionMixer(const MixerShape& shape, const LatentAttention& options)
    : Mixer(shape.tensors), options_(options), causal_(shape.causal) {
  auto& o = options_;
  const int64_t D = shape.d_model;
  check<ConfigError>(o.nope_dim > 0 || D % o.heads == 0, kPlaceOfLatents,
                     "expected d_model to be a multiple of heads, got ", D, " and ", o.heads,
                     ". Change one of them, or set nope_dim.");
  if (o.nope_dim == 0) o.nope_dim = D / o.heads;
  o.resolve();
  check<ConfigError>(causal_ || !o.indexer.active(), kPlaceOfLatents,
                     "expected an indexer beside causal attention only. Set indexer.heads = 0.");
  const int64_t H = o.heads, Q = o.q_rank, C = o.kv_rank, R = o.rope_dim, P = width();
  const auto bias = [&](const char* name, int64_t size) {
    return o.bias ? add_parameter(name, {size}, {.role = Role::kBias}) : Tensor();
  };
  const auto norm = [&](int64_t size) {
    return Norm("rmsnorm", size, o.norm_epsilon, shape.tensors);
  };
  if (Q > 0) {
    w_q_a = add_parameter("w_q_a", {Q, D}, {});
    b_q_a = bias("b_q_a", Q);
    q_norm = register_module("q_norm", norm(Q));
    w_q_b = add_parameter("w_q_b", {H * P, Q}, {});
  } else {
    w_q = add_parameter("w_q", {H * P, D}, {});
  }
  w_kv_a = add_parameter("w_kv_a", {C + R, D}, {});
  b_kv_a = bias("b_kv_a", C + R);
  kv_norm = register_module("kv_norm", norm(C));
  w_kv_b = add_parameter("w_kv_b", {H * (o.nope_dim + o.value_dim), C}, {});
  w_o = add_parameter("w_o", {D, H * o.value_dim}, {.residual = true});
  b_o = bias("b_o", D);
  if (o.indexer.heads > 0) indexer = register_module("indexer", KeyIndexer(o.indexer, shape, Q));
}

LatentAttentionMixer::Projected LatentAttentionMixer::project(const Tensor& x_TD,
                                                              const Sequences& sequences,
                                                              at::ScalarType type) {
  const auto& o = options_;
  const int64_t T = x_TD.size(0), H = o.heads, C = o.kv_rank, R = o.rope_dim;
  Projected out;
  Tensor q_TX, compressed_TQ;
  if (w_q.defined()) {
    q_TX = linear(x_TD, w_q, {}, type);
  } else {
    compressed_TQ = q_norm(linear(x_TD, w_q_a, b_q_a, type)).to(type);
    q_TX = linear(compressed_TQ, w_q_b, {}, type);
  }
  out.q_THP = q_TX.view({T, H, width()});
  if (o.q_scale != 1) out.q_THP = out.q_THP * o.q_scale;
  const Tensor kv_TX = linear(x_TD, w_kv_a, b_kv_a, type);
  out.latent_TC = kv_norm(kv_TX.narrow(1, 0, C)).to(type);
  if (o.kv_scale != 1) out.latent_TC = out.latent_TC * o.kv_scale;
  out.shared_TR = kv_TX.narrow(1, C, R);

  std::optional<ops::RopeTable> table;
  if (o.rope.kind != "none") {
    table = rope_table(o.rope, sequences, R, out.q_THP.options());
    out.q_THP = at::cat(
        {out.q_THP.narrow(2, 0, o.nope_dim), ops::rope(out.q_THP.narrow(2, o.nope_dim, R), *table)},
        2);
    out.shared_TR = ops::rope(out.shared_TR.unsqueeze(1), *table).squeeze(1);
  }
  if (o.temperature_scale != 0) {
    const Tensor steps_T =
        ((sequences.position_T(x_TD.device()).to(at::kDouble) + o.temperature_offset) /
         o.temperature_floor)
            .floor();
    const Tensor factor_T = steps_T.log1p() * o.temperature_scale + 1;
    out.q_THP = out.q_THP * factor_T.to(type).view({T, 1, 1});
  }
  if (indexer) {
    if (table) table->interleaved = o.indexer.rope_kind == "interleaved";
    out.index = indexer(x_TD.detach(), compressed_TQ.detach(), table ? &*table : nullptr, type);
  }
  return out;
}

const SeenPositions* LatentAttentionMixer::seen(const Projected& tokens,
                                                const LayerContext& context, const Runs& runs,
                                                const LatentState* state,
                                                SeenPositions& chosen) const {
  if (options_.indexer.shared) {
    check(context.key_choices != nullptr, kPlaceOfLatents,
          "expected an earlier layer whose choice of keys this one shares, got a layer alone. Set "
          "indexer.shared = false, or put it behind one with an indexer.");
    return &context.key_choices->before(context.layer);
  }
  if (!tokens.index) return nullptr;
  for (int64_t n = 0; n < runs.count(); ++n) {
    const auto mine = [&](const Tensor& x) { return x.narrow(0, runs.begin(n), runs.length(n)); };
    const auto& [q_TJI, key_TI, weight_TJ] = *tokens.index;
    chosen.push_back(
        indexer->choose(mine(q_TJI), mine(weight_TJ), state ? state->index_keys(n) : mine(key_TI)));
  }
  if (!context.key_choices) return &chosen;
  context.key_choices->put(context.layer, chosen, /*keeps_earlier=*/context.training);
  return &chosen;
}

LatentState& LatentAttentionMixer::checked(LayerState& state, const Sequences& sequences,
                                           const Tensor& x_TD) const {
  auto* const held = dynamic_cast<LatentState*>(&state);
  check(held, kPlaceOfLatents, "expected a state that this model made, got another kind's.");
  check(!(at::GradMode::is_enabled() && (x_TD.requires_grad() || w_o.requires_grad())),
        kPlaceOfLatents,
        "expected a state in evaluation without gradients only. Put an at::NoGradGuard "
        "around the call, or pass no state.");
  check(held->slots() == sequences.count(), kPlaceOfLatents,
        "expected a sequence for each of the state's ", held->slots(), " slots, got ",
        sequences.count(), ". Let sequences join and leave the state first.");
  for (int64_t n = 0; n < sequences.count(); ++n)
    check(held->length(n) == sequences.first_position_of(n), kPlaceOfLatents, "expected sequence ",
          n, " to go on at position ", held->length(n), ", got ", sequences.first_position_of(n),
          ". Pass exactly the tokens that are new.");
  return *held;
}

Tensor LatentAttentionMixer::forward(const Tensor& x_TD, const LayerContext& context,
                                     LayerState* state) {
  const auto& o = options_;
  const int64_t T = x_TD.size(0), H = o.heads;
  Sequences sequences = context.tokens.sequences;
  if (sequences.count() == 0) sequences = Sequences::equal(1, T);
  check(sequences.tokens() == T, kPlaceOfLatents, "expected sequences of the call's ", T,
        " tokens, got ", sequences.tokens(), ". Describe exactly the tokens that are passed.");
  LatentState* const held = state ? &checked(*state, sequences, x_TD) : nullptr;
  const auto type = context.compute_type(x_TD);
  const Projected tokens = project(x_TD.to(type), sequences, type);
  if (held)
    held->extend(sequences.runs, at::cat({tokens.latent_TC, tokens.shared_TR}, 1),
                 tokens.index ? tokens.index->key_TI : Tensor());
  SeenPositions chosen;
  const SeenPositions* const seen_positions = seen(tokens, context, sequences.runs, held, chosen);

  LatentHeads heads = {.w_HXC = w_kv_b.to(type).view({H, o.nope_dim + o.value_dim, o.kv_rank}),
                       .nope = o.nope_dim,
                       .value = o.value_dim,
                       .causal = causal_};
  heads.scale =
      o.scale > 0 ? o.scale : yarn_score_scale(o.rope) / std::sqrt(static_cast<double>(width()));
  // Recomputation runs the same pass without gradients first, and must get the same numbers.
  heads.learns = context.training || at::GradMode::is_enabled();
  const Tensor o_THV =
      held ? attend_latents_with_state(tokens.q_THP, heads, sequences.runs, seen_positions, *held)
           : attend_latents(tokens.q_THP, tokens.latent_TC, tokens.shared_TR, heads, sequences.runs,
                            seen_positions);
  return linear(o_THV.reshape({T, H * o.value_dim}), w_o, b_o, type);
}

std::unique_ptr<LayerState> LatentAttentionMixer::new_state(const StateShape& shape) const {
  check(causal_, kPlaceOfLatents,
        "expected a causal model to go on from a state, got one whose tokens see what comes after "
        "them. Read the whole sequence in one call.");
  return std::make_unique<LatentState>(options_.kv_rank + options_.rope_dim,
                                       options_.indexer.heads > 0 ? options_.indexer.head_dim : 0,
                                       shape);
}

int64_t LatentAttentionMixer::flops_over_keys(int64_t keys) const {
  const auto& o = options_;
  const int64_t seen = o.indexer.active() ? std::min(keys, o.indexer.top_k) : keys;
  return 2 * o.heads * (width() + o.value_dim) * seen +
         2 * o.indexer.heads * o.indexer.head_dim * keys;
}

}  // namespace

MOE_KIND(mixers, latent_attention, LatentAttentionMixer, LatentAttention)

}  // namespace moe::layers
