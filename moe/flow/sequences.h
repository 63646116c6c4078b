#pragma once
// T tokens, N sequences, G rows.

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe {

using at::Tensor;

/// Consecutive runs of the tokens of a call: run i is the tokens begin(i) .. end(i). Runs follow
/// each other without gaps from token 0 on, and may be empty.
class Runs {
 public:
  Runs() = default;
  /// `count` runs of `length` tokens each.
  static Runs equal(int64_t count, int64_t length);
  static Runs of_lengths(const std::vector<int64_t>& lengths);

  int64_t count() const { return count_; }
  int64_t tokens() const { return offsets_.empty() ? count_ * length_ : offsets_.back(); }
  int64_t begin(int64_t i) const { return offsets_.empty() ? i * length_ : offsets_[at(i)]; }
  int64_t end(int64_t i) const { return begin(i + 1); }
  int64_t length(int64_t i) const { return end(i) - begin(i); }
  int64_t longest() const;

  /// The length that all runs have, which allows views of shape (count, length, …); 0 when they
  /// differ or there is none.
  int64_t equal_length() const { return length_; }

  /// (count + 1,) int64: where runs begin, and the end of the last.
  Tensor offsets(at::Device device) const;
  /// (T,) int64: the run of each token.
  Tensor run_T(at::Device device) const;
  /// (T,) int64: the place of each token in its run, from 0.
  Tensor place_T(at::Device device) const;

 private:
  static size_t at(int64_t i) { return static_cast<size_t>(i); }

  int64_t count_ = 0, length_ = 0;
  std::vector<int64_t> offsets_;  // empty where all have one length
};

/// Which tokens of a call belong together. Tokens are a list: those of the first sequence, then
/// those of the second, and so on; there is no padding.
///
/// Training rows, packed documents, ragged batches, prompts and single decoded tokens are all
/// described by it. A sequence is what attention sees together. A row is the group of tokens that
/// sequence-wise losses, capacity and expert choice look at: a sequence, or several packed
/// documents.
struct Sequences {
  Runs runs;
  /// Rows of packed documents, whose ends are ends of sequences too; without any the sequences are
  /// rows.
  Runs packed_rows = {};
  /// Position of each sequence's first token: how many came before it in earlier calls
  /// (generation). Empty: 0 for all.
  std::vector<int64_t> first_position = {};

  /// `count` sequences of `length` tokens.
  static Sequences equal(int64_t count, int64_t length) { return {Runs::equal(count, length)}; }
  static Sequences of_lengths(const std::vector<int64_t>& lengths) {
    return {Runs::of_lengths(lengths)};
  }

  int64_t count() const { return runs.count(); }
  int64_t tokens() const { return runs.tokens(); }
  const Runs& rows() const { return packed_rows.count() > 0 ? packed_rows : runs; }
  int64_t first_position_of(int64_t sequence) const {
    return first_position.empty() ? 0 : first_position[static_cast<size_t>(sequence)];
  }
  /// The largest position plus 1; 0 without tokens.
  int64_t end_position() const;
  /// (T,) int64: position of each token in its sequence.
  Tensor position_T(at::Device device) const;
};

/// What is known of the tokens of a call beside their values.
struct TokenList {
  /// Without any sequence: all tokens of the call are one.
  Sequences sequences = {};
  /// Global number of token 0 of this call, over micro-batches and ranks: keys of random numbers.
  int64_t first_token = 0;
  /// (T,) int64 vocabulary ids; undefined where tokens are no text.
  Tensor ids_T = {};
  /// (T,) int64 in [0, num_domains): where each token comes from, for terms on domains; -1: not
  /// known. May be undefined. `num_domains` is the same on every rank and in every call.
  Tensor domains_T = {};
  int64_t num_domains = 0;

  /// The rows of `tokens` tokens: all of them one row where no sequence is named. Throws moe::Error
  /// when the sequences have another number of tokens.
  Runs rows(int64_t tokens) const;
};

}  // namespace moe
