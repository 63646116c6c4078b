#pragma once
// The file of a SentencePiece model (Kudo and Richardson 2018), and its normalizer.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <moe/data/tokenizers/byte_trie.h>
#include <moe/data/tokenizers/charsmap.h>

namespace moe::data {

struct SentencePiece {
  enum class Type { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
  std::string text;
  float score = 0;
  Type type = Type::kNormal;
};

struct SentencePieceModel {
  enum class Kind { kUnigram = 1, kBpe = 2 };
  std::vector<SentencePiece> pieces;
  Kind kind = Kind::kUnigram;
  bool byte_fallback = false;
  bool space_behind = false;  // treat_whitespace_as_suffix
  std::string unknown_surface = " \xE2\x81\x87 ";
  std::string charsmap;
  bool add_dummy_prefix = true, remove_extra_spaces = true, escape_spaces = true;
};

/// Throws Error, naming `source`, for bytes that are no such model, and for a kind of model other
/// than the two.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& source);

/// Immutable and thread-safe.
class SentencePieceNormalizer {
 public:
  explicit SentencePieceNormalizer(const SentencePieceModel& model);
  /// The text that pieces are found in. `begins`: it gets the space before the first word.
  std::string apply(std::string_view text, bool begins) const;
  /// Where a user-defined piece begins `text`: its length.
  size_t user_defined(std::string_view text) const {
    if (text.empty() || !user_defined_.may_begin(text.front())) return 0;
    return user_defined_.longest(text).length;
  }
  /// Its id.
  uint32_t user_defined_id(std::string_view text) const {
    return user_defined_.longest(text).value;
  }

 private:
  struct Step {
    std::string_view text;
    size_t length;  // of what it stands for
  };
  Step step(std::string_view text) const;

  Charsmap map_;
  ByteTrie user_defined_;
  bool add_dummy_prefix_, remove_extra_spaces_, escape_spaces_, space_behind_;
};

}  // namespace moe::data
