// T tokens of several sequences, Q queries of one over S positions, H heads, G of keys and values,
// N and R numbers of a head without and with positions, P both, V width of values, C rank of the
// latent, W numbers that are held of a position: C + R.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tensor.h>

#include <moe/layers/attend_sequences.h>
#include <moe/layers/latent_attend.h>
#include <moe/ops/attend_rows.h>
#include <moe/ops/head_products.h>
#include <moe/ops/linear.h>

namespace moe::layers {

namespace {

/// Up to this many new tokens a sequence, w_HXC is applied to them instead of to all latents.
constexpr int64_t kFewQueries = 16;

/// Zeros behind the last dimension, up to `width` numbers.
Tensor widened(const Tensor& x, int64_t width) {
  return x.size(-1) == width ? x : at::constant_pad_nd(x, {0, width - x.size(-1)});
}

/// Keys (T, H, P) and values (T, H, V) of all heads.
std::pair<Tensor, Tensor> keys_and_values(const Tensor& latent_TC, const Tensor& shared_TR,
                                          const LatentHeads& heads) {
  const int64_t T = latent_TC.size(0), H = heads.w_HXC.size(0), X = heads.w_HXC.size(1);
  const Tensor both_THX =
      ops::linear(latent_TC.contiguous(), heads.w_HXC.reshape({H * X, -1})).view({T, H, X});
  const Tensor shared_THR = shared_TR.unsqueeze(1).expand({T, H, shared_TR.size(1)});
  return {at::cat({both_THX.narrow(2, 0, heads.nope), shared_THR}, 2),
          both_THX.narrow(2, heads.nope, heads.value)};
}

AttendOptions options_of(const LatentHeads& heads) {
  AttendOptions out = {.causal = heads.causal};
  out.scores.scale = heads.scale;
  out.learns = heads.learns;
  return out;
}

/// One sequence: (Q, H, P), (S, G, P), (S, G, V) -> (Q, H, V). The queries are the last of the
/// positions, and see what `seen_QS` says; undefined: all up to their own.
Tensor attend_one(const Tensor& q_QHP, const Tensor& k_SGP, const Tensor& v_SGV,
                  const Tensor& seen_QS, const LatentHeads& heads) {
  // The fused products want keys and values of one width.
  const int64_t V = v_SGV.size(2), width = std::max(q_QHP.size(2), V);
  if (!seen_QS.defined()) {
    const auto alone = [&](const Tensor& x) { return widened(x, width).unsqueeze(0); };
    return attend(alone(q_QHP), alone(k_SGP), alone(v_SGV), options_of(heads))
        .squeeze(0)
        .narrow(2, 0, V);
  }
  const auto head_first = [&](const Tensor& x) {
    return widened(x, width).transpose(0, 1).unsqueeze(0);
  };
  return at::scaled_dot_product_attention(head_first(q_QHP), head_first(k_SGP), head_first(v_SGV),
                                          seen_QS.view({1, 1, seen_QS.size(0), seen_QS.size(1)}),
                                          0.0, false, heads.scale, q_QHP.size(1) != k_SGP.size(1))
      .squeeze(0)
      .transpose(0, 1)
      .narrow(2, 0, V);
}

/// What sequence n's tokens see; undefined: all up to their own.
Tensor seen_by(const SeenPositions* seen, int64_t n) {
  return seen ? seen->at(static_cast<size_t>(n)) : Tensor();
}

/// Queries over latents and shared keys instead of keys: (M, H, P) -> (M, H, W).
Tensor absorbed(const Tensor& q_MHP, const LatentHeads& heads) {
  const int64_t R = q_MHP.size(2) - heads.nope;
  return at::cat({ops::combine_head_rows(q_MHP.narrow(2, 0, heads.nope), heads.w_HXC, 0),
                  q_MHP.narrow(2, heads.nope, R)},
                 2);
}

/// Values from what was gathered of latents: (M, H, W) -> (M, H, V).
Tensor values_of(const Tensor& gathered_MHW, const LatentHeads& heads) {
  return ops::multiply_head_rows(gathered_MHW.narrow(2, 0, heads.w_HXC.size(2)), heads.w_HXC,
                                 heads.nope, heads.value);
}

/// Sequence n behind what is held, in memory of its own: libtorch's products give other bits for
/// other places in memory and for other sequences beside it.
Tensor attend_one_held(const Tensor& q_QHP, int64_t n, const Tensor& seen_QS,
                       const LatentHeads& heads, const LatentState& state) {
  const Tensor held_SW = state.latents(n).to(q_QHP.scalar_type(), false, /*copy=*/true);
  const int64_t C = heads.w_HXC.size(2), R = held_SW.size(1) - C;
  if (q_QHP.size(0) > kFewQueries) {
    const auto [k_SHP, v_SHV] =
        keys_and_values(held_SW.narrow(1, 0, C), held_SW.narrow(1, C, R), heads);
    return attend_one(q_QHP.clone(), k_SHP, v_SHV, seen_QS, heads);
  }
  const Tensor held_S1W = held_SW.unsqueeze(1);
  return values_of(attend_one(absorbed(q_QHP, heads), held_S1W, held_S1W, seen_QS, heads), heads);
}

/// Some of M queries, each over rows of memory of its own.
struct QueriesOverRows {
  std::vector<int64_t> places;
  std::vector<ops::SeenRows> seen;

  void attend(const Tensor& q_MHW, const Tensor& memory_RW, double scale,
              const Tensor& out_MHW) const {
    const Tensor place_X = at::tensor(places, at::kLong), memory_R1W = memory_RW.unsqueeze(1);
    out_MHW.index_copy_(0, place_X,
                        ops::attend_rows(q_MHW.index_select(0, place_X), memory_R1W, memory_R1W,
                                         seen, {.scale = scale}));
  }
};

/// Tokens of sequences that bring few.
class FewTokens {
 public:
  explicit FewTokens(const LatentState& state) : state_(state) {}

  /// The token, at `position` of sequence n, sees the positions where seen_S is true; undefined:
  /// all up to its own.
  void add(int64_t token, int64_t n, int64_t position, const Tensor& seen_S) {
    const auto place = static_cast<int64_t>(tokens_.size());
    tokens_.push_back(token);
    if (!seen_S.defined()) {
      in_memory_.places.push_back(place);
      in_memory_.seen.push_back(
          {.base = state_.first_row(n), .size = state_.capacity(), .count = position + 1});
      return;
    }
    rows_.push_back(seen_S.nonzero().flatten() + state_.first_row(n));
    const int64_t count = rows_.back().size(0);
    gathered_.places.push_back(place);
    gathered_.seen.push_back({.base = gathered_rows_, .size = count, .count = count});
    gathered_rows_ += count;
  }

  /// Writes what these tokens get.
  void attend(const Tensor& q_THP, const LatentHeads& heads, const Tensor& out_THV) const {
    if (tokens_.empty()) return;
    const Tensor token_M = at::tensor(tokens_, at::kLong), memory_RW = state_.all_latents();
    const Tensor q_MHW = absorbed(q_THP.index_select(0, token_M), heads);
    const Tensor found_MHW = at::empty_like(q_MHW);
    if (!in_memory_.places.empty()) in_memory_.attend(q_MHW, memory_RW, heads.scale, found_MHW);
    if (!gathered_.places.empty())
      gathered_.attend(q_MHW, memory_RW.index_select(0, at::cat(rows_)), heads.scale, found_MHW);
    out_THV.index_copy_(0, token_M, values_of(found_MHW, heads));
  }

 private:
  const LatentState& state_;
  std::vector<int64_t> tokens_;
  QueriesOverRows in_memory_, gathered_;
  std::vector<Tensor> rows_;  // of the memory, that the queries over gathered rows see
  int64_t gathered_rows_ = 0;
};

}  // namespace

Tensor attend_latents(const Tensor& q_THP, const Tensor& latent_TC, const Tensor& shared_TR,
                      const LatentHeads& heads, const Runs& runs, const SeenPositions* seen) {
  const auto [k_THP, v_THV] = keys_and_values(latent_TC, shared_TR, heads);
  const int64_t width = std::max(q_THP.size(2), heads.value);
  const bool all_seen = !seen || std::ranges::none_of(*seen, [](const Tensor& of_sequence) {
    return of_sequence.defined();
  });
  if (all_seen) {
    return attend_sequences(widened(q_THP, width), widened(k_THP, width), widened(v_THV, width),
                            runs, 0, options_of(heads))
        .narrow(2, 0, heads.value);
  }
  std::vector<Tensor> parts;
  for (int64_t n = 0; n < runs.count(); ++n) {
    if (runs.length(n) == 0) continue;
    const auto mine = [&](const Tensor& x) { return x.narrow(0, runs.begin(n), runs.length(n)); };
    parts.push_back(attend_one(mine(q_THP), mine(k_THP), mine(v_THV), seen_by(seen, n), heads));
  }
  return at::cat(parts);
}

Tensor attend_latents_with_state(const Tensor& q_THP, const LatentHeads& heads, const Runs& runs,
                                 const SeenPositions* seen, const LatentState& state) {
  const bool by_rows = ops::can_attend_rows(q_THP, state.all_latents());
  Tensor out_THV = at::empty({q_THP.size(0), q_THP.size(1), heads.value}, q_THP.options());
  FewTokens few(state);
  for (int64_t n = 0; n < runs.count(); ++n) {
    const int64_t begin = runs.begin(n), Q = runs.length(n), first = state.length(n) - Q;
    const Tensor seen_QS = seen_by(seen, n);
    if (Q == 0) continue;
    if (by_rows && Q <= kFewQueries) {
      for (int64_t i = 0; i < Q; ++i)
        few.add(begin + i, n, first + i, seen_QS.defined() ? seen_QS.select(0, i) : seen_QS);
    } else {
      out_THV.narrow(0, begin, Q)
          .copy_(attend_one_held(q_THP.narrow(0, begin, Q), n, seen_QS, heads, state));
    }
  }
  few.attend(q_THP, heads, out_THV);
  return out_THV;
}

}  // namespace moe::layers
