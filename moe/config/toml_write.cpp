#include <algorithm>

#include <moe/base/error.h>
#include <moe/config/toml.h>

namespace moe::config {

namespace {

/// True for a list that [[headers]] can hold.
bool is_list_of_tables(const Value& value) {
  const auto* array = value.as<Array>();
  return array && !array->empty() &&
         std::all_of(array->begin(), array->end(),
                     [](const Value& item) { return item.as<Table>() != nullptr; });
}

bool is_section(const Value& value) {
  return value.as<Table>() || is_list_of_tables(value);
}

class Writer {
 public:
  std::string text;

  /// The plain keys of `table`, then its sections under `path`. TOML wants this order: what follows
  /// a header belongs to it.
  void body(const Table& table, const std::string& path) {
    for (const auto& [key, value] : table)
      if (!is_section(value)) text += key_text(key) + " = " + value.text() + '\n';
    for (const auto& [key, value] : table) {
      const std::string inner = path.empty() ? key_text(key) : path + '.' + key_text(key);
      if (const auto* section = value.as<Table>()) {
        // A table of nothing but sections exists through their headers.
        const bool implied = !section->empty() &&
                             std::all_of(section->begin(), section->end(), [](const auto& entry) {
                               return is_section(entry.second);
                             });
        if (!implied) header('[' + inner + ']');
        body(*section, inner);
      } else if (is_list_of_tables(value)) {
        for (const auto& item : *value.as<Array>()) {
          header("[[" + inner + "]]");
          body(*item.as<Table>(), inner);
        }
      }
    }
  }

 private:
  void header(const std::string& line) {
    if (!text.empty()) text += '\n';
    text += line + '\n';
  }
};

}  // namespace

std::string write_toml(const Table& table) {
  Writer writer;
  writer.body(table, "");
  // What nobody could read again must not be written.
  parse_toml(writer.text, "settings to be written");
  return std::move(writer.text);
}

}  // namespace moe::config
