#include <algorithm>
#include <charconv>

#include <moe/base/error.h>
#include <moe/base/utf8.h>
#include <moe/config/overrides.h>
#include <moe/config/toml.h>
#include <moe/config/toml_guard.h>

namespace moe::config {

namespace {

/// A step of a path: a key, or a place in a list.
struct Step {
  std::string key;
  size_t index = 0;
  bool is_index = false;
};

/// Reads "a.b[0].c" from the front of "a.b[0].c=value".
class PathReader {
 public:
  explicit PathReader(std::string_view setting) : setting_(setting) {}

  std::vector<Step> steps() {
    std::vector<Step> out = {key()};
    while (at_ < setting_.size() && setting_[at_] != '=') {
      if (setting_[at_] == '[') {
        out.push_back(index());
      } else {
        if (setting_[at_] != '.') malformed("expected '.', '[' or '=' after a key");
        ++at_;
        out.push_back(key());
      }
      if (out.size() > static_cast<size_t>(TomlLimits::kDepth)) malformed("expected fewer parts");
    }
    if (at_ == setting_.size()) malformed("expected KEY=VALUE");
    return out;
  }
  /// Once steps() has returned.
  std::string_view value() const { return setting_.substr(at_ + 1); }

 private:
  static bool is_bare(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  }

  Step key() {
    const bool quoted = at_ < setting_.size() && setting_[at_] == '"';
    const size_t start = at_ + (quoted ? 1 : 0);
    size_t end = start;
    while (end < setting_.size() && (quoted ? setting_[end] != '"' : is_bare(setting_[end]))) ++end;
    if (end == start) malformed("expected a key");
    if (quoted && end == setting_.size()) malformed("expected a closing '\"'");
    at_ = end + (quoted ? 1 : 0);
    return {std::string(setting_.substr(start, end - start))};
  }

  Step index() {
    const size_t close = std::min(setting_.find(']', at_), setting_.size());
    Step step{{}, 0, true};
    const char* end = setting_.data() + close;
    const auto [stop, error] = std::from_chars(setting_.data() + at_ + 1, end, step.index);
    if (close == setting_.size() || error != std::errc() || stop != end)
      malformed("expected a number in '[]'");
    at_ = close + 1;
    return step;
  }

  [[noreturn]] void malformed(const char* expected) const {
    fail<ConfigError>("--set", expected, " at character ", at_ + 1, " of '", setting_,
                      "'. Write --set section.key=value, or section.list[0].key=value.");
  }

  std::string_view setting_;
  size_t at_ = 0;
};

/// The item that `step` leads to in `from`; `path` is what was walked so far.
Value& follow(Value& from, const Step& step, const std::string& path) {
  if (step.is_index) {
    auto* array = from.as<Array>();
    check<ConfigError>(array, "--set", "expected a list at '", path, "', found ", from.type_name(),
                       ". Set the whole list: --set '", path, "=[…]'.");
    check<ConfigError>(step.index < array->size(), "--set", "expected an item of '", path,
                       "' below ", array->size(), ", got [", step.index,
                       "]. Set the whole list to make it longer.");
    return (*array)[step.index];
  }
  if (from.empty()) from = Table{};
  auto* table = from.as<Table>();
  check<ConfigError>(table, "--set", "expected a table at '", path, "', found ", from.type_name(),
                     ": ", from.text(), ". Check the path",
                     from.as<Array>() ? " ([0] is the first item of a list)" : "", ".");
  if (!table->find(step.key)) table->set(step.key, Value());
  return *table->find(step.key);
}

}  // namespace

void apply_override(Table& table, std::string_view setting) {
  // A run writes its settings as TOML, which holds nothing else.
  check<ConfigError>(is_utf8(setting), "--set", "expected UTF-8, got '", setting,
                     "'. Rename the file or the value.");
  PathReader reader(setting);
  const auto steps = reader.steps();
  auto value = parse_toml_value(reader.value());
  if (!value) value = Value(std::string(reader.value()));

  // On a copy: a path that fails half way must leave no empty tables behind.
  Value root(table);
  Value* place = &root;
  std::string path;
  for (const auto& step : steps) {
    place = &follow(*place, step, path);
    if (step.is_index) {
      path += concat('[', step.index, ']');
    } else {
      path += path.empty() ? "" : ".";
      path += key_text(step.key);
    }
  }
  *place = std::move(*value);
  table = std::move(*root.as<Table>());
}

}  // namespace moe::config
