#pragma once
// The map of characters that SentencePiece compiles into a model: text to its replacement, in a
// double-array trie (Yata; the format of darts-clone).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moe::data {

/// Immutable and thread-safe.
class Charsmap {
 public:
  /// `blob`: the size of the trie in bytes (uint32, little endian), the trie, then replacements
  /// that each end with a NUL byte. Throws Error for a blob that is not that; one whose trie lies
  /// gives other replacements, never a read outside.
  explicit Charsmap(std::string_view blob);

  struct Found {
    size_t length;  // of what is replaced
    std::string_view replacement;
  };
  /// The shortest, or the longest, key that `text` begins with.
  std::optional<Found> shortest(std::string_view text) const { return find(text, true); }
  std::optional<Found> longest(std::string_view text) const { return find(text, false); }
  bool empty() const { return units_.empty(); }

 private:
  std::optional<Found> find(std::string_view text, bool first) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

/// The bytes that base64 `text` stands for; nothing when it is none.
std::optional<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view bytes);

}  // namespace moe::data
