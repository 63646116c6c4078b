#include <moe/base/error.h>
#include <moe/config/toml_guard.h>

namespace moe::config {

namespace {

/// The index behind the string that opens at `start`, or behind what is left of it: a string on one
/// line ends with the line.
size_t skip_string(std::string_view text, size_t start) {
  const char quote = text[start];
  const std::string_view triple = quote == '"' ? "\"\"\"" : "'''";
  const bool long_form = text.substr(start, 3) == triple;
  size_t i = start + (long_form ? 3 : 1);
  while (i < text.size()) {
    if (quote == '"' && text[i] == '\\') {
      i += 2;
    } else if (long_form && text.substr(i, 3) == triple) {
      i += 3;
      while (i < text.size() && text[i] == quote) ++i;  // up to two quotes end the content
      return i;
    } else if (!long_form && (text[i] == quote || text[i] == '\n')) {
      return i + 1;
    } else {
      ++i;
    }
  }
  return text.size();
}

TomlProblem problem_at(std::string_view text, size_t where, std::string what) {
  TomlProblem problem{std::move(what), 1, 1};
  for (size_t i = 0; i < where; ++i) {
    problem.column = text[i] == '\n' ? 1 : problem.column + 1;
    problem.line += text[i] == '\n';
  }
  return problem;
}

}  // namespace

std::optional<TomlProblem> find_excess(std::string_view text) {
  if (text.size() > TomlLimits::kFileBytes)
    return TomlProblem{concat("expected at most ", TomlLimits::kFileBytes, " bytes, got ",
                              text.size(), ". Split the file."),
                       1, 1};
  int64_t dots = 0, keys = 0, values = 0;
  bool line_start = true;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"' || c == '\'') {
      i = skip_string(text, i);
      continue;
    }
    if (c == '#') {
      i = text.find('\n', i);
      if (i == std::string_view::npos) break;
      continue;
    }
    const bool separates = c == '\n' || c == '=' || c == '[' || c == '{' || c == ',';
    dots = separates ? 0 : dots + (c == '.');
    values += separates && c != '\n';
    keys += c == '=' || (c == '[' && line_start);
    line_start = c == '\n' || (line_start && (c == ' ' || c == '\t'));
    if (keys > TomlLimits::kKeys)
      return problem_at(text, i,
                        concat("expected at most ", TomlLimits::kKeys,
                               " keys and sections, got more. Split the file."));
    if (dots >= TomlLimits::kDepth)
      return problem_at(text, i,
                        concat("expected at most ", TomlLimits::kDepth,
                               " parts in a key, got more. Shorten it."));
    if (values > TomlLimits::kValues)
      return problem_at(text, i,
                        concat("expected at most ", TomlLimits::kValues,
                               " values, got more. Keep data in files of their own."));
    ++i;
  }
  return std::nullopt;
}

}  // namespace moe::config
