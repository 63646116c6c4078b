#include <cstddef>

#include <moe/base/glob.h>

namespace moe {

bool glob_match(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0;
  // Behind the last star, and where in the text what it stands for ends: when the rest does not
  // fit, it takes one letter more. Earlier stars need not: what fits them fits with the shortest
  // text.
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
