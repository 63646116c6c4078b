#include <array>
#include <cstdlib>
#include <memory>
#include <utf8proc.h>
#include <vector>

#include <moe/base/error.h>
#include <moe/base/utf8.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data {

namespace {

constexpr uint32_t kCodePoints = 0x110000;

bool is_white_space(uint32_t code) {
  return (code >= 0x9 && code <= 0xD) || code == 0x20 || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

/// Symbols that are alphabetic (Other_Alphabetic): letters in circles and squares.
bool is_alphabetic_symbol(uint32_t code) {
  return (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
         (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
}

struct HanRange {
  uint32_t first, last;
};
constexpr HanRange kHanRanges[] = {
    {0x2E80, 0x2E99},   {0x2E9B, 0x2EF3},   {0x2F00, 0x2FD5},   {0x3005, 0x3005},
    {0x3007, 0x3007},   {0x3021, 0x3029},   {0x3038, 0x303B},   {0x3400, 0x4DBF},
    {0x4E00, 0x9FFF},   {0xF900, 0xFA6D},   {0xFA70, 0xFAD9},   {0x16FE2, 0x16FE3},
    {0x16FF0, 0x16FF1}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B739}, {0x2B740, 0x2B81D},
    {0x2B820, 0x2CEA1}, {0x2CEB0, 0x2EBE0}, {0x2EBF0, 0x2EE5D}, {0x2F800, 0x2FA1D},
    {0x30000, 0x3134A}, {0x31350, 0x323AF}};

uint16_t bits_of_category(uint32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
      return kUpper | kWord;
    case UTF8PROC_CATEGORY_LL:
      return kLower | kWord;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return kOtherLetter | kWord;
    case UTF8PROC_CATEGORY_MN:
      return kMark | kNonspacing | kWord;
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return kMark | kWord;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
      return kNumber | kWord;
    case UTF8PROC_CATEGORY_NO:
      return kNumber;
    case UTF8PROC_CATEGORY_PC:
      return kPunctuation | kWord;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return kPunctuation;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
      return kSymbol;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return 0;
    case UTF8PROC_CATEGORY_CN:
      return 0;
    default:
      return kOther;
  }
}

std::vector<uint16_t> make_character_table() {
  std::vector<uint16_t> out(kCodePoints);
  for (uint32_t code = 0; code < kCodePoints; ++code) {
    uint16_t bits = bits_of_category(code);
    if (is_white_space(code)) bits |= kSpace;
    if (is_alphabetic_symbol(code) || code == 0x200C || code == 0x200D) bits |= kWord;
    out[code] = bits;
  }
  for (const auto& [first, last] : kHanRanges)
    for (uint32_t code = first; code <= last; ++code) out[code] |= kHan;
  return out;
}

bool is_ascii(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  return true;
}

}  // namespace

size_t last_code_point(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

void append_utf8(std::string& out, uint32_t code) {
  std::array<utf8proc_uint8_t, 4> bytes = {};
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(length));
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Piece piece = next_utf8(text);
    const bool fits = piece.kind == Utf8Piece::Kind::kCharacter;
    out += fits ? text.substr(0, piece.length) : std::string_view("\xEF\xBF\xBD");
    text.remove_prefix(piece.length);
  }
  return out;
}

uint16_t character_bits(uint32_t code) {
  static const std::vector<uint16_t> table = make_character_table();
  return code < kCodePoints ? table[code] : uint16_t{kOther};
}

std::string lower_case(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto [code, length] = first_code_point(text);
    if (code < 0x80)
      out += code >= 'A' && code <= 'Z' ? static_cast<char>(code + 32) : static_cast<char>(code);
    else if (code == 0x130)  // the only one whose lower case is two characters
      out += "i\xCC\x87";
    else
      append_utf8(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<int32_t>(code))));
    text.remove_prefix(length);
  }
  return out;
}

std::string upper_case(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto [code, length] = first_code_point(text);
    if (code == 0xDF)
      out += "SS";
    else
      append_utf8(out, static_cast<uint32_t>(utf8proc_toupper(static_cast<int32_t>(code))));
    text.remove_prefix(length);
  }
  return out;
}

std::string normal_form(std::string_view text, NormalForm form) {
  if (is_ascii(text)) return std::string(text);
  const bool composed = form == NormalForm::kC || form == NormalForm::kKC;
  const bool compatible = form == NormalForm::kKC || form == NormalForm::kKD;
  const auto options = static_cast<utf8proc_option_t>(
      UTF8PROC_STABLE | (composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
      (compatible ? UTF8PROC_COMPAT : 0));
  utf8proc_uint8_t* made = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &made, options);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(made, &std::free);
  check(length >= 0, "data/tokenizer", "expected text that has a normal form, got ",
        utf8proc_errmsg(length), ". Divide the text.");
  return std::string(reinterpret_cast<const char*>(made), static_cast<size_t>(length));
}

size_t grapheme_length(std::string_view text) {
  CodePoint before = first_code_point(text);
  size_t end = before.length;
  if (before.code != '\r' && (end == text.size() || static_cast<unsigned char>(text[end]) < 0x80))
    return end;
  utf8proc_int32_t state = 0;
  while (end < text.size()) {
    const CodePoint next = first_code_point(text.substr(end));
    if (utf8proc_grapheme_break_stateful(static_cast<int32_t>(before.code),
                                         static_cast<int32_t>(next.code), &state))
      break;
    end += next.length;
    before = next;
  }
  return end;
}

}  // namespace moe::data
