#pragma once
// Learning a byte-level BPE vocabulary from text.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <moe/data/bpe/added_tokens.h>
#include <moe/data/bpe/bpe_model.h>

namespace moe::data {

struct BpeTrainerOptions {
  /// Tokens in all: special tokens, 256 bytes, merges.
  int64_t vocabulary = 8192;
  /// A pair that occurs less often is not merged.
  int64_t min_count = 2;
  /// Tokens that stand whole in the text and are cut out before words are counted.
  std::vector<std::string> special = {};

  void validate(const std::string& place) const;
};

/// Counts the words of texts and learns merges from them. Memory is in proportion to the number of
/// different words, not to the text.
class BpeTrainer {
 public:
  explicit BpeTrainer(BpeTrainerOptions options);

  /// Counts the words of one document or file. A word longer than 256 bytes is counted in pieces,
  /// so that no text makes training slow.
  void add(std::string_view text);

  int64_t different_words() const { return static_cast<int64_t>(counts_.size()); }

  /// The vocabulary, fixed by the counts alone: ids are the special tokens in their order, the
  /// bytes in letter order (bytes_in_letter_order), then a token a merge. Each merge takes the pair
  /// of neighbours that occurs most often in all words (a run aaa holds the pair aa twice); of
  /// pairs that occur equally often the one with the smaller left id, then the smaller right id.
  /// Ends with fewer tokens than asked for when no pair is left that occurs min_count times. The
  /// merges are those of BpeTrainer in the Python package `tokenizers` with
  /// initial_alphabet=ByteLevel.alphabet().
  BpeModel train() const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  BpeTrainerOptions options_;
  AddedTokenFinder special_;
  std::unordered_map<std::string, int64_t, Hash, std::equal_to<>> counts_;
};

}  // namespace moe::data
