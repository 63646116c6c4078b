#include <algorithm>
#include <numeric>

#include <moe/base/error.h>
#include <moe/base/utf8.h>

namespace moe {

namespace {

constexpr size_t kLongestMessage = 8000;

bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

/// `text`, which is UTF-8, without its middle.
std::string without_middle(std::string_view text) {
  constexpr size_t kHalf = kLongestMessage / 2 - 4;
  size_t end = kHalf;
  while (end > 0 &&
         (continues_character(text[end]) || text[end - 1] == ' ' || text[end - 1] == '\n'))
    --end;
  size_t begin = text.size() - kHalf;
  while (continues_character(text[begin])) ++begin;
  return concat(text.substr(0, end), " … ", text.substr(begin));
}

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

Error::Error(std::string_view message) : std::runtime_error(fit_to_show(message)) {}

std::string fit_to_show(std::string_view message) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (std::string_view rest = message; !rest.empty();) {
    const Utf8Piece piece = next_utf8(rest);
    const std::string_view part = rest.substr(0, piece.length);
    const bool shown = piece.kind == Utf8Piece::Kind::kCharacter &&
                       (!is_control(part) || rest.starts_with("\n  "));
    if (shown) out += part;
    for (size_t i = 0; i < part.size() && !shown; ++i) {
      const auto byte = static_cast<unsigned char>(part[i]);
      (out += "\\x") += {digits[byte >> 4], digits[byte & 15]};
    }
    rest.remove_prefix(piece.length);
  }
  return out.size() <= kLongestMessage ? out : without_middle(out);
}

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  std::string out;
  for (const auto& word : words) {
    if (!out.empty()) out += separator;
    out += word;
  }
  return out;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() > 100) return "";  // no slip of a finger, and the distance costs its length
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
