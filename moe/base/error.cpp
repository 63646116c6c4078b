#include <algorithm>
#include <numeric>

#include <moe/base/error.h>

namespace moe {

namespace {

/// Levenshtein distance.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

}  // namespace

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  std::string out;
  for (const auto& word : words) {
    if (!out.empty()) out += separator;
    out += word;
  }
  return out;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const auto nearest = std::min_element(known.begin(), known.end(), [&](auto& a, auto& b) {
    return edit_distance(word, a) < edit_distance(word, b);
  });
  if (nearest == known.end()) return "";
  const size_t allowed = std::max<size_t>(2, word.size() / 3);
  return edit_distance(word, *nearest) <= allowed ? concat(" Did you mean '", *nearest, "'?") : "";
}

void check_one_of(std::string_view place, std::string_view option, const std::string& value,
                  const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  fail<ConfigError>(place, "expected ", option, " to be one of ", join(known), ", got '", value,
                    "'.", did_you_mean(value, known), " Choose one of them.");
}

std::string indented_list(const std::vector<std::string>& items, size_t most) {
  std::string out;
  for (size_t i = 0; i < std::min(most, items.size()); ++i) out += "\n  " + items[i];
  if (items.size() > most) out += concat("\n  … and ", items.size() - most, " more");
  return out;
}

}  // namespace moe
