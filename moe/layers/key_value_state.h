#pragma once
// C positions held, Q new tokens, G key-value heads, P width of keys, V width of
// values.

#include <utility>

#include <moe/layers/mixer.h>
#include <moe/layers/slot_rows.h>
#include <moe/ops/attend_rows.h>

namespace moe::layers {

/// Tokens of a call, and the rows of memory that they go to.
struct NewRows {
  std::vector<int64_t> tokens, rows;
};

/// How far back a token looks in its sequence: over everything, the last `window` positions up to
/// its own, or its own chunk of `chunk` positions.
struct Reach {
  int64_t window = 0, chunk = 0;

  /// Earlier positions that the token at `position` sees.
  int64_t behind(int64_t position) const;
  /// Positions that a token sees at most; 0: all.
  int64_t limit() const { return chunk > 0 ? chunk : window; }
  /// The same of `positions` there are.
  int64_t most(int64_t positions) const;
};

/// Keys and values of the positions that each sequence of a running batch has seen: all of them, or
/// the last ones that a sliding window or a chunk needs. Memory is one block of rows; slots point
/// to rows, so that a sequence leaves without a copy and another takes its place.
class KeyValueState final : public LayerState {
 public:
  /// Up to this many new tokens a sequence, attention reads the memory after the new keys are
  /// written to it.
  static constexpr int64_t kFewTokens = 16;

  KeyValueState(int64_t kv_heads, int64_t key_width, int64_t value_width, const Reach& reach,
                const StateShape& shape);

  void join(int64_t count) override;
  void keep(const std::vector<int64_t>& slots) override { slots_.keep(slots); }
  int64_t bytes() const override;

  /// Positions that are held of a sequence of `positions`.
  static int64_t held(int64_t positions, const Reach& reach);
  int64_t slots() const { return slots_.slots(); }
  /// Positions that slot n has seen.
  int64_t length(int64_t n) const { return slots_.length(n); }

  /// Keys (C, G, P) and values (C, G, V) that slot n's next token sees: those held, then the new
  /// ones (Q, …), as copies of the new ones' type.
  std::pair<Tensor, Tensor> with_new(int64_t n, const Tensor& key_QGP,
                                     const Tensor& value_QGV) const;
  /// Slot n has seen the `count` tokens of a call from token `begin` on: notes where they go.
  void extend(int64_t n, int64_t begin, int64_t count, NewRows& rows);
  /// Writes what was noted, from keys and values of all the call's tokens.
  void write(const NewRows& rows, const Tensor& key_TGP, const Tensor& value_TGV);

  /// All memory as rows (R, G, …), and the rows that slot n's token at `position` sees, once it and
  /// fewer than kFewTokens behind it are there.
  Tensor keys() const { return key_.flatten(0, 1); }
  Tensor values() const { return value_.flatten(0, 1); }
  ops::SeenRows seen(int64_t n, int64_t position) const;

 private:
  Tensor row(const Tensor& memory, int64_t n) const;

  int64_t capacity_;
  Reach reach_;
  SlotRows slots_;
  Tensor key_, value_;  // (rows, C, G, …); position p stands at p mod C
};

}  // namespace moe::layers
