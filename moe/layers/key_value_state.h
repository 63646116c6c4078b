#pragma once
// C positions held, Q new tokens, G key-value heads, P head width.

#include <utility>

#include <moe/layers/mixer.h>
#include <moe/ops/attend_rows.h>

namespace moe::layers {

/// Tokens of a call, and the rows of memory that they go to.
struct NewRows {
  std::vector<int64_t> tokens, rows;
};

/// Keys and values of the positions that each sequence of a running batch has seen: all of them, or
/// the last ones that a sliding window needs. Memory is one block of rows; slots point to rows, so
/// that a sequence leaves without a copy and another takes its place.
class KeyValueState final : public LayerState {
 public:
  /// Up to this many new tokens a sequence, attention reads the memory after the new keys are
  /// written to it.
  static constexpr int64_t kFewTokens = 16;

  /// `window` 0: all positions up to the capacity.
  KeyValueState(int64_t kv_heads, int64_t head_dim, int64_t window, const StateShape& shape);

  void join(int64_t count) override;
  void keep(const std::vector<int64_t>& slots) override;
  int64_t bytes() const override;

  /// Positions that are held of a sequence of `positions`.
  static int64_t held(int64_t positions, int64_t window);
  int64_t slots() const { return static_cast<int64_t>(rows_.size()); }
  /// Positions that slot n has seen.
  int64_t length(int64_t n) const { return lengths_[static_cast<size_t>(n)]; }

  /// Keys and values that slot n's next tokens see (C, G, P): those held, then the new ones
  /// (Q, G, P), as copies of the new ones' type.
  std::pair<Tensor, Tensor> with_new(int64_t n, const Tensor& key_QGP,
                                     const Tensor& value_QGP) const;
  /// Slot n has seen the `count` tokens of a call from token `begin` on: notes where they go.
  void extend(int64_t n, int64_t begin, int64_t count, NewRows& rows);
  /// Writes what was noted, from keys and values of all the call's tokens.
  void write(const NewRows& rows, const Tensor& key_TGP, const Tensor& value_TGP);

  /// All memory as rows (R, G, P), and the rows that slot n's token at `position` sees, once it and
  /// fewer than kFewTokens behind it are there.
  Tensor keys() const { return key_.flatten(0, 1); }
  Tensor values() const { return value_.flatten(0, 1); }
  ops::SeenRows seen(int64_t n, int64_t position) const;

 private:
  Tensor row(const Tensor& memory, int64_t n) const;
  void grow(int64_t rows);

  int64_t capacity_, window_;
  Tensor key_, value_;            // (rows, C, G, P); position p stands at p mod C
  std::vector<int64_t> rows_;     // of each slot
  std::vector<int64_t> lengths_;  // of each slot
  std::vector<int64_t> free_;     // rows of nobody; the last is taken first
};

}  // namespace moe::layers
