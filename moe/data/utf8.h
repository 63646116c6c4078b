#pragma once
// UTF-8 in pieces.

#include <cstddef>
#include <string>
#include <string_view>

namespace moe::data {

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

/// Text that arrives byte by byte, handed on in whole characters. Ill-formed bytes become U+FFFD.
class Utf8Stream {
 public:
  /// The characters that `bytes` completes; what is incomplete waits.
  std::string push(std::string_view bytes);
  /// What waits, as U+FFFD; the stream is empty afterwards.
  std::string flush();

 private:
  std::string waiting_;
};

}  // namespace moe::data
