#include <algorithm>
#include <filesystem>
#include <tuple>

// toml++ 3.3 asserts that a table header starts with a key before it reports that it does not
// ("[[[ "), and calls "unreachable" what most characters beyond ASCII reach when it asks whether
// they are blanks. Neither may abort or become a promise to the optimizer.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(condition) static_assert(true)
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 32
#include <toml++/impl/forward_declarations.h>
#pragma push_macro("TOML_UNREACHABLE")
#undef TOML_UNREACHABLE
#define TOML_UNREACHABLE return false
#include <toml++/impl/unicode.h>
#pragma pop_macro("TOML_UNREACHABLE")
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

#include <moe/base/error.h>
#include <moe/base/files.h>
#include <moe/config/toml.h>
#include <moe/config/toml_guard.h>

namespace moe::config {

namespace {

static_assert(TOML_MAX_NESTED_VALUES == TomlLimits::kDepth);

/// toml++'s tree as ours. Stops at the first problem.
class Converter {
 public:
  std::optional<TomlProblem> problem;

  Table table(const toml::table& from, int64_t depth = 1) {
    Table out;
    if (static_cast<int64_t>(from.size()) > TomlLimits::kKeysPerTable) {
      refuse(from, "expected at most ", TomlLimits::kKeysPerTable, " keys in a table, got ",
             from.size(), ". Split it.");
      return out;
    }
    // toml++ sorts keys by name; settings are shown in the order they were written.
    std::vector<std::pair<const toml::key*, const toml::node*>> entries;
    for (const auto& [key, node] : from) entries.emplace_back(&key, &node);
    std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
      const auto place = [](const auto& entry) {
        const auto& begin = entry.first->source().begin;
        return std::tuple(begin.line, begin.column);
      };
      return place(a) < place(b);
    });
    for (const auto& [key, node] : entries) {
      if (problem) break;
      Value item = value(*node, depth);
      item.line = static_cast<int>(key->source().begin.line);
      out.set(std::string(key->str()), std::move(item));
    }
    return out;
  }

  Value value(const toml::node& node, int64_t depth) {
    if (const auto* boolean = node.as_boolean()) return Value(boolean->get());
    if (const auto* integer = node.as_integer()) return Value(integer->get());
    if (const auto* number = node.as_floating_point()) return Value(number->get());
    if (const auto* string = node.as_string()) return Value(string->get());
    if (!node.is_table() && !node.is_array()) {
      refuse(node,
             "expected a string, number, boolean, list or table, got a date or time. Write it "
             "in quotes.");
      return {};
    }
    if (depth >= TomlLimits::kDepth) {
      refuse(node, "expected at most ", TomlLimits::kDepth, " levels, got more. Nest less deeply.");
      return {};
    }
    if (const auto* inner = node.as_table()) return Value(table(*inner, depth + 1));
    Array items;
    for (const auto& item : *node.as_array()) {
      if (problem) break;
      items.push_back(value(item, depth + 1));
      items.back().line = static_cast<int>(item.source().begin.line);
    }
    return Value(std::move(items));
  }

 private:
  template <class... Parts>
  void refuse(const toml::node& node, const Parts&... parts) {
    const auto& begin = node.source().begin;
    if (!problem) problem = TomlProblem{concat(parts...), begin.line, begin.column};
  }
};

/// The settings, or what is wrong with the text.
std::variant<Table, TomlProblem> try_parse(std::string_view text) {
  if (auto excess = find_excess(text)) return std::move(*excess);
  const toml::parse_result result = toml::parse(text);
  if (!result) {
    const auto& error = result.error();
    const auto& begin = error.source().begin;
    return TomlProblem{concat("expected TOML: ", error.description(), ". Correct the file."),
                       begin.line, begin.column};
  }
  Converter converter;
  Table table = converter.table(result.table());
  if (converter.problem) return std::move(*converter.problem);
  return table;
}

}  // namespace

Table parse_toml(std::string_view text, const std::string& source_name) {
  auto result = try_parse(text);
  if (const auto* problem = std::get_if<TomlProblem>(&result))
    fail<ConfigError>("config/toml", "'", source_name, "', line ", problem->line, ", column ",
                      problem->column, ": ", problem->what);
  return std::get<Table>(std::move(result));
}

Table read_toml(const std::filesystem::path& path) {
  auto& files = real_files();
  std::error_code ignored;  // what cannot be looked at is not there
  const auto status = std::filesystem::status(path, ignored);
  check<ConfigError>(std::filesystem::exists(status), "config/toml", "expected a TOML file at '",
                     path.string(), "', found nothing there. Check the path.");
  check<ConfigError>(std::filesystem::is_regular_file(status), "config/toml",
                     "expected a TOML file at '", path.string(),
                     "', found something that is no file. Name a file.");
  return parse_toml(read_file(files, path, TomlLimits::kFileBytes), path.string());
}

std::optional<Value> parse_toml_value(std::string_view text) {
  auto result = try_parse(concat("value = ", text));
  auto* table = std::get_if<Table>(&result);
  // More keys than one: the text held a line break and more settings.
  if (!table || table->size() != 1) return std::nullopt;
  Value value = std::move(*table->find("value"));
  value.line = 0;
  return value;
}

}  // namespace moe::config
