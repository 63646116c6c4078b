#include <moe/data/bpe/gpt2_words.h>
#include <moe/data/tokenizers/known_patterns.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data {

namespace {

/// Where the run of characters with any of `bits` ends that goes on at `begin`; at most `most` of
/// them.
size_t run_end(std::string_view text, size_t begin, uint16_t bits, size_t most = SIZE_MAX) {
  while (begin < text.size() && most-- > 0) {
    const auto [code, length] = first_code_point(text.substr(begin));
    if (!is_a(code, bits)) break;
    begin += length;
  }
  return begin;
}

/// The same of characters without any of `bits`.
size_t run_without(std::string_view text, size_t begin, uint16_t bits) {
  while (begin < text.size()) {
    const auto [code, length] = first_code_point(text.substr(begin));
    if (is_a(code, bits)) break;
    begin += length;
  }
  return begin;
}

size_t run_of(std::string_view text, size_t begin, std::string_view characters) {
  return std::min(text.find_first_not_of(characters, begin), text.size());
}

bool has_at(std::string_view text, size_t at, uint16_t bits) {
  return at < text.size() && is_a(first_code_point(text.substr(at)).code, bits);
}

/// (?i:'s|'t|'re|'ve|'m|'ll|'d) at `begin`: its length, or 0. "ſ" is an "s" of another case.
size_t contraction_at(std::string_view text, size_t begin) {
  if (begin + 1 >= text.size() || text[begin] != '\'') return 0;
  const auto lower = [&](size_t i) {
    return i < text.size() ? static_cast<char>(text[i] | 0x20) : '\0';
  };
  const char first = lower(begin + 1), second = lower(begin + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (text.substr(begin + 1, 2) == "\xC5\xBF") return 3;
  const bool two =
      ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l');
  return two ? 3 : 0;
}

/// \s*[\r\n]+|\s+(?!\S)|\s+
size_t white_space_length(std::string_view text) {
  size_t end = 0, last = 0, behind_break = 0;
  while (end < text.size()) {
    const auto [code, length] = first_code_point(text.substr(end));
    if (!is_a(code, kSpace)) break;
    last = end;
    end += length;
    if (code == '\r' || code == '\n') behind_break = end;
  }
  if (behind_break > 0) return behind_break;
  return end == text.size() || last == 0 ? end : last;
}

/// " ?[^\s\p{L}\p{N}]+" and then `behind`*: its length, or 0.
size_t symbols_length(std::string_view text, std::string_view behind) {
  const size_t begin = text.front() == ' ';
  const size_t end = run_without(text, begin, kSpace | kLetter | kNumber);
  return end == begin ? 0 : run_of(text, end, behind);
}

/// Whether `first` is one of [^\r\n\p{L}\p{N}].
bool may_lead_letters(uint32_t first) {
  return first != '\r' && first != '\n' && !is_a(first, kLetter | kNumber);
}

/// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,kDigits}|
/// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <size_t kDigits>
size_t cl100k_length(std::string_view text) {
  if (const size_t length = contraction_at(text, 0)) return length;
  const CodePoint first = first_code_point(text);
  if (is_a(first.code, kLetter)) return run_end(text, first.length, kLetter);
  if (is_a(first.code, kNumber)) return run_end(text, 0, kNumber, kDigits);
  if (may_lead_letters(first.code) && has_at(text, first.length, kLetter))
    return run_end(text, first.length, kLetter);
  if (const size_t length = symbols_length(text, "\r\n")) return length;
  return white_space_length(text);
}

constexpr uint16_t kCapitals = kUpper | kOtherLetter | kMark;  // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
constexpr uint16_t kSmall = kLower | kOtherLetter | kMark;     // [\p{Ll}\p{Lm}\p{Lo}\p{M}]

/// Where the run of characters with any of `bits`, and none of `but`, ends.
size_t run_end_but(std::string_view text, size_t begin, uint16_t bits, uint16_t but) {
  while (begin < text.size()) {
    const auto [code, length] = first_code_point(text.substr(begin));
    const uint16_t found = character_bits(code);
    if (!(found & bits) || (found & but)) break;
    begin += length;
  }
  return begin;
}

/// kCapitals* kSmall+ at `begin`, without characters of `kBut`: where it ends, or 0.
template <uint16_t kBut>
size_t capitalised_end(std::string_view text, size_t begin) {
  const size_t capitals = run_end_but(text, begin, kCapitals, kBut);
  if (const size_t small = run_end_but(text, capitals, kSmall, kBut); small > capitals)
    return small;
  // The run gives back characters until the last of them can be the small one.
  for (size_t end = capitals; end > begin;) {
    const size_t last = last_code_point(text.substr(0, end));
    if (has_at(text, last, kSmall)) return end;
    end = last;
  }
  return 0;
}

/// The pattern of o200k; with kKimi that of Kimi-K2, where Han is words of its own.
template <bool kKimi>
size_t o200k_length(std::string_view text) {
  constexpr uint16_t kBut = kKimi ? kHan : 0;
  const CodePoint first = first_code_point(text);
  if (kKimi && is_a(first.code, kHan)) return run_end(text, 0, kHan);
  const bool leads = may_lead_letters(first.code);
  size_t end = leads ? capitalised_end<kBut>(text, first.length) : 0;
  if (end == 0) end = capitalised_end<kBut>(text, 0);
  const auto capitals = [&](size_t begin) {
    const size_t stop = run_end_but(text, begin, kCapitals, kBut);
    return stop == begin ? 0 : stop;
  };
  if (end == 0 && leads) end = capitals(first.length);
  if (end == 0) end = capitals(0);
  if (end > 0) return end + contraction_at(text, end);
  if (is_a(first.code, kNumber)) return run_end(text, 0, kNumber, 3);
  if (const size_t length = symbols_length(text, kKimi ? "\r\n" : "\r\n/")) return length;
  return white_space_length(text);
}

bool is_ascii_letter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/// The third pattern of DeepSeek-V3.
size_t deepseek_words_length(std::string_view text) {
  const CodePoint first = first_code_point(text);
  const bool punctuates =
      first.code > ' ' && first.code < 0x7F && is_a(first.code, kPunctuation | kSymbol);
  if (punctuates && text.size() > 1 && is_ascii_letter(text[1])) {
    size_t end = 2;
    while (end < text.size() && is_ascii_letter(text[end])) ++end;
    return end;
  }
  const bool leads = first.code != '\r' && first.code != '\n' &&
                     !is_a(first.code, kLetter | kPunctuation | kSymbol);
  if (leads && has_at(text, first.length, kLetter | kMark))
    return run_end(text, first.length, kLetter | kMark);
  if (is_a(first.code, kLetter | kMark)) return run_end(text, 0, kLetter | kMark);
  const size_t begin = text.front() == ' ';
  const size_t end = run_end(text, begin, kPunctuation | kSymbol);
  if (end > begin) return run_of(text, end, "\r\n");
  return white_space_length(text);
}

size_t three_numbers_length(std::string_view text) {
  return run_end(text, 0, kNumber, 3);
}

/// \s+$ where $ is also before a line break.
size_t trailing_space_length(std::string_view text) {
  if (!has_at(text, 0, kSpace)) return 0;
  const size_t end = run_end(text, 0, kSpace);
  if (end == text.size()) return end;
  const size_t last = text.substr(0, end).rfind('\n');
  return last == text.npos || last == 0 ? kNothingFor | end : last;
}

struct KnownPattern {
  std::string_view pattern;
  MatchLength length;
};

constexpr KnownPattern kKnownPatterns[] = {
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     gpt2_word_length},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     cl100k_length<3>},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     cl100k_length<1>},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     o200k_length<false>},
    {R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     o200k_length<true>},
    {R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     deepseek_words_length},
    {R"([!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     deepseek_words_length},
    {R"(\p{N}{1,3})", three_numbers_length},
    {R"(\s+$)", trailing_space_length},
};

}  // namespace

MatchLength known_pattern(std::string_view pattern) {
  for (const auto& known : kKnownPatterns)
    if (known.pattern == pattern) return known.length;
  return nullptr;
}

}  // namespace moe::data
