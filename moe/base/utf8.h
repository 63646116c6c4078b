#pragma once
// UTF-8 character by character.

#include <cstddef>
#include <string_view>

namespace moe {

/// What stands at the front of `bytes`, by the table of well-formed sequences (Unicode 15, table
/// 3-7).
struct Utf8Piece {
  enum class Kind { kCharacter, kInvalid, kIncomplete };
  Kind kind;
  /// Bytes of the character, of the ill-formed part to replace by one U+FFFD, or of the beginning
  /// of a character that more bytes could complete.
  size_t length;
};
/// `bytes` must not be empty.
Utf8Piece next_utf8(std::string_view bytes);

/// Whether a terminal may act on `character` (one of UTF-8) instead of showing it.
bool is_control(std::string_view character);

/// Whether all of `text` is characters.
bool is_utf8(std::string_view text);

}  // namespace moe
