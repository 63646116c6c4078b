#include <cstddef>

#include <moe/base/glob.h>

namespace moe {

bool glob_match(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0;
  // Position after the last star, and where the text that it takes ends. On a mismatch go back to
  // the last star and let it take one more byte; earlier stars never need to.
  size_t behind_star = std::string_view::npos, star_end = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      behind_star = ++p;
      star_end = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (behind_star != std::string_view::npos) {
      p = behind_star;
      t = ++star_end;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace moe
