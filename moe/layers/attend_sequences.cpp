// T tokens of several sequences, H query heads, G key-value heads, P width of queries and keys, V
// width of values, N sequences of one length, L their length.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/layers/attend_sequences.h>
#include <moe/layers/sequence_groups.h>

namespace moe::layers {

namespace {

constexpr const char* kPlaceOfAttending = "layers/attention";

Tensor attend_equal(const Tensor& q_THP, const Tensor& k_TGP, const Tensor& v_TGV, int64_t N,
                    int64_t L, int64_t first_token, AttendOptions options) {
  const auto rows = [&](const Tensor& x_THP) {
    return x_THP.view({N, L, x_THP.size(1), x_THP.size(2)});
  };
  if (options.dropout > 0)
    options.token_NQ = at::arange(first_token, first_token + N * L,
                                  at::TensorOptions(at::kLong).device(q_THP.device()))
                           .view({N, L});
  return attend(rows(q_THP), rows(k_TGP), rows(v_TGV), options)
      .reshape({N * L, q_THP.size(1), v_TGV.size(2)});
}

/// Runs cut where chunks end: a token sees nothing of the chunks before its own.
Runs cut_by_chunks(const Runs& runs, int64_t chunk) {
  if (chunk == 0 || runs.longest() <= chunk) return runs;
  std::vector<int64_t> lengths;
  for (int64_t n = 0; n < runs.count(); ++n)
    for (int64_t begin = 0; begin < runs.length(n); begin += chunk)
      lengths.push_back(std::min(chunk, runs.length(n) - begin));
  return Runs::of_lengths(lengths);
}

/// One sequence behind what slot n holds, in memory of its own: libtorch's products give other bits
/// for other places in memory and for other sequences beside it.
Tensor attend_alone(const Tensor& q_QHP, const Tensor& k_QGP, const Tensor& v_QGV, int64_t n,
                    const AttendOptions& options, const KeyValueState& state) {
  const auto alone = [&](const Tensor& q, const Tensor& k, const Tensor& v) {
    return attend(q.clone().unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), options).squeeze(0);
  };
  const int64_t Q = q_QHP.size(0), chunk = options.chunk;
  // What is left of the chunk that the sequence is in.
  const int64_t first = chunk > 0 ? std::min(Q, chunk - state.length(n) % chunk) : Q;
  const auto [k_CGP, v_CGV] =
      state.with_new(n, k_QGP.narrow(0, 0, first), v_QGV.narrow(0, 0, first));
  std::vector<Tensor> out = {alone(q_QHP.narrow(0, 0, first), k_CGP, v_CGV)};
  for (int64_t begin = first; begin < Q; begin += chunk) {
    const auto mine = [&](const Tensor& x) {
      return x.narrow(0, begin, std::min(chunk, Q - begin));
    };
    out.push_back(alone(mine(q_QHP), mine(k_QGP).clone(), mine(v_QGV).clone()));
  }
  return out.size() == 1 ? out.front() : at::cat(out);
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

Tensor attend_sequences(const Tensor& q_THP, const Tensor& k_TGP, const Tensor& v_TGV,
                        const Runs& sequences, int64_t first_token, const AttendOptions& options) {
  const int64_t T = q_THP.size(0);
  const Runs runs = cut_by_chunks(sequences, options.chunk);
  if (T == 0) return attend_equal(q_THP, k_TGP, v_TGV, 0, 1, first_token, options);
  if (runs.equal_length() > 0)
    return attend_equal(q_THP, k_TGP, v_TGV, runs.count(), runs.equal_length(), first_token,
                        options);
  const SequenceGroups groups(runs, q_THP.device());
  std::vector<Tensor> results;
  for (const SequenceGroup& group : groups.groups()) {
    AttendOptions of_group = options;
    // Padding comes after the last token, where causal queries do not look.
    if (!options.causal) of_group.keys_N = group.length_N;
    if (options.dropout > 0) of_group.token_NQ = group.token_NL + first_token;
    results.push_back(attend(group.take(q_THP), group.take(k_TGP), group.take(v_TGV), of_group));
  }
  return groups.put_back(results);
}

Tensor attend_with_state(const Tensor& q_THP, const Tensor& k_TGP, const Tensor& v_TGV,
                         const Sequences& sequences, const AttendOptions& options,
                         LayerState& mixer_state) {
  KeyValueState& state = checked(mixer_state, sequences, options, q_THP);
  const Runs& runs = sequences.runs;
  const bool by_rows = !options.relative.defined() && ops::can_attend_rows(q_THP, state.keys());
  Tensor out_THV = at::empty({q_THP.size(0), q_THP.size(1), v_TGV.size(2)}, q_THP.options());
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
      mine(out_THV).copy_(attend_alone(mine(q_THP), mine(k_TGP), mine(v_TGV), n, options, state));
    }
    state.extend(n, begin, Q, rows);
  }
  state.write(rows, k_TGP, v_TGV);
  if (few.empty()) return out_THV;
  if (static_cast<int64_t>(few.size()) == q_THP.size(0))
    return ops::attend_rows(q_THP, state.keys(), state.values(), seen, options.scores);
  const Tensor token_M = at::tensor(few, at::kLong);
  out_THV.index_copy_(0, token_M,
                      ops::attend_rows(q_THP.index_select(0, token_M), state.keys(), state.values(),
                                       seen, options.scores));
  return out_THV;
}

}  // namespace moe::layers
