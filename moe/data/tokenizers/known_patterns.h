#pragma once
// The patterns by which widely used tokenizers divide text, written out by hand: what the regular
// expression finds, some times as fast.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace moe::data {

/// Length in bytes of the match at the front of `text` (UTF-8, not empty), as the first alternative
/// of the pattern that matches there; 0 where none does, kNothingFor | n where none does in the
/// next n bytes (which end a character).
using MatchLength = size_t (*)(std::string_view text);

inline constexpr size_t kNothingFor = ~(SIZE_MAX >> 1);

/// The function that finds what `pattern` finds, or null: patterns are known by their very text.
MatchLength known_pattern(std::string_view pattern);

/// Calls take(begin, end, whether it is a match) for all stretches of `text` in order.
template <class Take>
void divide_by(MatchLength length, std::string_view text, Take&& take) {
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t found = length(text.substr(i));
    if (found & kNothingFor) {
      i += found & ~kNothingFor;
      continue;
    }
    if (found == 0) {
      do ++i;
      while (i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80);
      continue;
    }
    if (i > done) take(done, i, false);
    take(i, i + found, true);
    done = i += found;
  }
  if (done < text.size()) take(done, text.size(), false);
}

}  // namespace moe::data
