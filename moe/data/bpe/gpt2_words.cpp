#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

#include <moe/data/bpe/gpt2_words.h>
#include <moe/data/utf8.h>

namespace moe::data {

namespace {

enum class CharacterClass : uint8_t { kOther, kLetter, kNumber, kSpace };

struct CharacterRange {
  uint32_t first, last;
  CharacterClass kind;
};

constexpr CharacterRange kCharacterRanges[] = {
#define L CharacterClass::kLetter
#define N CharacterClass::kNumber
#define S CharacterClass::kSpace
#include <moe/data/bpe/unicode_ranges.inc>
#undef L
#undef N
#undef S
};

constexpr CharacterClass find_class(uint32_t code) {
  const auto* range = std::upper_bound(
      std::begin(kCharacterRanges), std::end(kCharacterRanges), code,
      [](uint32_t value, const CharacterRange& candidate) { return value < candidate.first; });
  if (range == std::begin(kCharacterRanges) || code > (--range)->last)
    return CharacterClass::kOther;
  return range->kind;
}

constexpr auto kAsciiClasses = [] {
  std::array<CharacterClass, 128> out = {};
  for (uint32_t code = 0; code < 128; ++code) out[code] = find_class(code);
  return out;
}();

struct ScannedCharacter {
  CharacterClass kind;
  size_t length;
};

/// The character at the front of `text`, which is not empty.
ScannedCharacter scan_character(std::string_view text) {
  const unsigned lead = static_cast<unsigned char>(text.front());
  if (lead < 0x80) return {kAsciiClasses[lead], 1};
  const Utf8Piece piece = next_utf8(text);
  if (piece.kind != Utf8Piece::Kind::kCharacter) return {CharacterClass::kOther, piece.length};
  uint32_t code = lead & (0x7Fu >> piece.length);
  for (size_t i = 1; i < piece.length; ++i)
    code = (code << 6) | (static_cast<unsigned char>(text[i]) & 0x3F);
  return {find_class(code), piece.length};
}

/// Length of "'s", "'t", "'re", "'ve", "'m", "'ll" or "'d" at the front of `text`, or 0.
size_t contraction_length(std::string_view text) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  const char c = text[1];
  if (c == 's' || c == 't' || c == 'm' || c == 'd') return 2;
  const std::string_view two = text.substr(1, 2);
  return two == "re" || two == "ve" || two == "ll" ? 3 : 0;
}

/// Length of the run of characters of `kind` that goes on from `begin`, up to where it ends.
size_t end_of_run(std::string_view text, size_t begin, CharacterClass kind) {
  while (begin < text.size()) {
    const ScannedCharacter next = scan_character(text.substr(begin));
    if (next.kind != kind) break;
    begin += next.length;
  }
  return begin;
}

/// `\s+(?!\S)|\s+`: a run of white space leaves its last character to the word behind it, unless
/// it has no other.
size_t space_length(std::string_view text) {
  size_t end = 0, last = 0;
  while (end < text.size()) {
    const ScannedCharacter next = scan_character(text.substr(end));
    if (next.kind != CharacterClass::kSpace) return last > 0 ? last : end;
    last = end;
    end += next.length;
  }
  return end;
}

/// What the character is that ends before `end`, which is not 0 and where a character begins.
CharacterClass class_before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && end - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80)
    --begin;
  const ScannedCharacter found = scan_character(text.substr(begin, end - begin));
  return found.length == end - begin ? found.kind : CharacterClass::kOther;  // else it is no UTF-8
}

}  // namespace

size_t gpt2_word_length(std::string_view text) {
  if (const size_t length = contraction_length(text)) return length;
  const ScannedCharacter first = scan_character(text);
  if (first.kind != CharacterClass::kSpace) return end_of_run(text, first.length, first.kind);
  if (text.front() == ' ' && text.size() > 1) {
    const ScannedCharacter second = scan_character(text.substr(1));
    if (second.kind != CharacterClass::kSpace)
      return end_of_run(text, 1 + second.length, second.kind);
  }
  return space_length(text);
}

size_t gpt2_word_border(std::string_view text, size_t from) {
  for (size_t i = std::max<size_t>(from, 1); i < text.size(); ++i) {
    const auto here = static_cast<unsigned char>(text[i]);
    const bool is_space = here < 0x80 && kAsciiClasses[here] == CharacterClass::kSpace;
    if (is_space && class_before(text, i) != CharacterClass::kSpace) return i;
  }
  return text.size();
}

}  // namespace moe::data
