// T tokens of several sequences, H query heads, G key-value heads, P head width, N sequences of one
// length, L their length.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/layers/attend_sequences.h>
#include <moe/layers/sequence_groups.h>

namespace moe::layers {

namespace {

constexpr const char* kPlaceOfAttending = "layers/attention";

Tensor attend_equal(const Tensor& q_THP, const Tensor& k_TGP, const Tensor& v_TGP, int64_t N,
                    int64_t L, int64_t first_token, AttendOptions options) {
  const auto rows = [&](const Tensor& x_THP) {
    return x_THP.view({N, L, x_THP.size(1), x_THP.size(2)});
  };
  if (options.dropout > 0)
    options.token_NQ = at::arange(first_token, first_token + N * L,
                                  at::TensorOptions(at::kLong).device(q_THP.device()))
                           .view({N, L});
  return attend(rows(q_THP), rows(k_TGP), rows(v_TGP), options).reshape(q_THP.sizes());
}

/// One sequence behind what slot n holds, in memory of its own: libtorch's products give other bits
/// for other places in memory and for other sequences beside it.
Tensor attend_alone(const Tensor& q_QHP, const Tensor& k_QGP, const Tensor& v_QGP, int64_t n,
                    const AttendOptions& options, const KeyValueState& state) {
  const auto [k_CGP, v_CGP] = state.with_new(n, k_QGP, v_QGP);
  return attend(q_QHP.clone().unsqueeze(0), k_CGP.unsqueeze(0), v_CGP.unsqueeze(0), options)
      .squeeze(0);
}

KeyValueState& checked(LayerState& state, const Sequences& sequences, const AttendOptions& options,
                       const Tensor& q_THP) {
  auto* const held = dynamic_cast<KeyValueState*>(&state);
  check(held, kPlaceOfAttending, "expected a state that this model made, got another kind's.");
  check(options.causal && options.dropout == 0 &&
            !(at::GradMode::is_enabled() && q_THP.requires_grad()),
        kPlaceOfAttending,
        "expected a state in evaluation without gradients only. Put an at::NoGradGuard "
        "around the call, or pass no state.");
  check(held->slots() == sequences.count(), kPlaceOfAttending,
        "expected a sequence for each of the state's ", held->slots(), " slots, got ",
        sequences.count(), ". Let sequences join and leave the state first.");
  for (int64_t n = 0; n < sequences.count(); ++n)
    check(held->length(n) == sequences.first_position_of(n), kPlaceOfAttending,
          "expected sequence ", n, " to go on at position ", held->length(n), ", got ",
          sequences.first_position_of(n), ". Pass exactly the tokens that are new.");
  return *held;
}

}  // namespace

Tensor attend_sequences(const Tensor& q_THP, const Tensor& k_TGP, const Tensor& v_TGP,
                        const Runs& runs, int64_t first_token, const AttendOptions& options) {
  const int64_t T = q_THP.size(0);
  if (T == 0) return attend_equal(q_THP, k_TGP, v_TGP, 0, 1, first_token, options);
  if (runs.equal_length() > 0)
    return attend_equal(q_THP, k_TGP, v_TGP, runs.count(), runs.equal_length(), first_token,
                        options);
  const SequenceGroups groups(runs, q_THP.device());
  std::vector<Tensor> results;
  for (const SequenceGroup& group : groups.groups()) {
    AttendOptions of_group = options;
    // Padding comes after the last token, where causal queries do not look.
    if (!options.causal) of_group.keys_N = group.length_N;
    if (options.dropout > 0) of_group.token_NQ = group.token_NL + first_token;
    results.push_back(attend(group.take(q_THP), group.take(k_TGP), group.take(v_TGP), of_group));
  }
  return groups.put_back(results);
}

Tensor attend_with_state(const Tensor& q_THP, const Tensor& k_TGP, const Tensor& v_TGP,
                         const Sequences& sequences, const AttendOptions& options,
                         LayerState& mixer_state) {
  KeyValueState& state = checked(mixer_state, sequences, options, q_THP);
  const Runs& runs = sequences.runs;
  const bool by_rows = ops::can_attend_rows(q_THP, state.keys());
  Tensor out_THP = at::empty_like(q_THP);
  NewRows rows;
  std::vector<int64_t> few;  // tokens whose sequences bring few: all of them in one call
  std::vector<ops::SeenRows> seen;
  for (int64_t n = 0; n < runs.count(); ++n) {
    const int64_t begin = runs.begin(n), Q = runs.length(n), first = state.length(n);
    if (Q == 0) continue;
    if (by_rows && Q <= KeyValueState::kFewTokens) {
      for (int64_t i = 0; i < Q; ++i) {
        few.push_back(begin + i);
        seen.push_back(state.seen(n, first + i));
      }
    } else {
      const auto mine = [&](const Tensor& x_THP) { return x_THP.narrow(0, begin, Q); };
      mine(out_THP).copy_(attend_alone(mine(q_THP), mine(k_TGP), mine(v_TGP), n, options, state));
    }
    state.extend(n, begin, Q, rows);
  }
  state.write(rows, k_TGP, v_TGP);
  if (few.empty()) return out_THP;
  if (static_cast<int64_t>(few.size()) == q_THP.size(0))
    return ops::attend_rows(q_THP, state.keys(), state.values(), seen);
  const Tensor token_M = at::tensor(few, at::kLong);
  out_THP.index_copy_(
      0, token_M,
      ops::attend_rows(q_THP.index_select(0, token_M), state.keys(), state.values(), seen));
  return out_THP;
}

}  // namespace moe::layers
