#pragma once
// Unicode characters: properties, case, normal forms. By utf8proc.

#include <cstdint>
#include <string>
#include <string_view>

namespace moe::data {

/// A character and the bytes that it takes in UTF-8.
struct CodePoint {
  uint32_t code;
  uint32_t length;
};

/// The character at the front of `text`, which is UTF-8 and not empty.
inline CodePoint first_code_point(std::string_view text) {
  const auto byte = [&](size_t i) { return uint32_t{static_cast<unsigned char>(text[i])}; };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

/// Where the last character of `text`, which is UTF-8 and not empty, begins.
size_t last_code_point(std::string_view text);

void append_utf8(std::string& out, uint32_t code);

/// `text` with every ill-formed part as U+FFFD.
std::string to_valid_utf8(std::string_view text);

/// What a character is; several at once. kOther is Cc, Cf, Co and Cs, kWord what
/// `\w` matches (alphabetic, marks, decimal digits, connectors, joiners), kSpace White_Space.
enum CharacterBits : uint16_t {
  kUpper = 1,         // Lu, Lt
  kLower = 2,         // Ll
  kOtherLetter = 4,   // Lm, Lo
  kLetter = 7,        // L
  kMark = 8,          // M
  kNonspacing = 16,   // Mn
  kNumber = 32,       // N
  kPunctuation = 64,  // P
  kSymbol = 128,      // S
  kSpace = 256,       // White_Space
  kWord = 512,
  kOther = 1024,  // C, what is not assigned apart
  kHan = 2048,    // the script Han
};
uint16_t character_bits(uint32_t code);
inline bool is_a(uint32_t code, uint16_t bits) {
  return (character_bits(code) & bits) != 0;
}

/// Every character's own lower case (no rule looks at neighbours; "İ" becomes two characters).
std::string lower_case(std::string_view text);

/// The same of upper case ("ß" becomes "SS").
std::string upper_case(std::string_view text);

enum class NormalForm { kC, kD, kKC, kKD };
/// `text` (UTF-8) in a normal form of Unicode.
std::string normal_form(std::string_view text, NormalForm form);

/// Length in bytes of the extended grapheme cluster that `text` (UTF-8, not empty) begins with.
size_t grapheme_length(std::string_view text);

}  // namespace moe::data
