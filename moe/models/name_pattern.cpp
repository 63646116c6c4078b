#include <charconv>

#include <moe/base/error.h>
#include <moe/models/name_pattern.h>

namespace moe::models {

namespace {

/// Takes "{x}" from the front of `pattern` and returns x; nothing where it begins with other text.
std::optional<std::string> take_place(std::string_view& pattern) {
  if (!pattern.starts_with('{')) return std::nullopt;
  const size_t end = pattern.find('}');
  check(end != pattern.npos && end > 1, "models/names", "expected a name between { and } in '",
        pattern, "'.");
  std::string place(pattern.substr(1, end - 1));
  pattern.remove_prefix(end + 1);
  return place;
}

/// Takes the digits of a number from the front of `name`.
std::optional<int64_t> take_number(std::string_view& name) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const auto digits = static_cast<size_t>(end - name.data());
  if (error != std::errc() || number < 0 || (digits > 1 && name.front() == '0'))
    return std::nullopt;
  name.remove_prefix(digits);
  return number;
}

}  // namespace

std::optional<Numbers> match_numbers(std::string_view pattern, std::string_view name) {
  Numbers out;
  while (!pattern.empty()) {
    if (const auto place = take_place(pattern)) {
      const auto number = take_number(name);
      if (!number || out.emplace(*place, *number).first->second != *number) return std::nullopt;
    } else {
      if (name.empty() || name.front() != pattern.front()) return std::nullopt;
      pattern.remove_prefix(1);
      name.remove_prefix(1);
    }
  }
  return name.empty() ? std::optional(out) : std::nullopt;
}

std::string put_numbers(std::string_view pattern, const Numbers& numbers) {
  std::string out;
  while (!pattern.empty()) {
    const std::string_view before = pattern;
    if (const auto place = take_place(pattern)) {
      const auto found = numbers.find(*place);
      check(found != numbers.end(), "models/names", "expected a number for {", *place, "} in '",
            before, "', got none. Name it on both sides of the rule.");
      out += std::to_string(found->second);
    } else {
      out += pattern.front();
      pattern.remove_prefix(1);
    }
  }
  return out;
}

}  // namespace moe::models
