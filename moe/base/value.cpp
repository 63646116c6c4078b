#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <moe/base/value.h>

namespace moe {

const Value* Table::find(std::string_view key) const {
  for (const auto& [name, value] : entries_)
    if (name == key) return &value;
  return nullptr;
}

Value* Table::find(std::string_view key) {
  return const_cast<Value*>(std::as_const(*this).find(key));
}

void Table::set(std::string key, Value value) {
  if (Value* present = find(key))
    *present = std::move(value);
  else
    entries_.emplace_back(std::move(key), std::move(value));
}

std::vector<std::string> Table::keys() const {
  std::vector<std::string> out;
  for (const auto& [name, value] : entries_) out.push_back(name);
  return out;
}

std::string_view Value::type_name() const {
  static constexpr std::array<std::string_view, 7> names = {
      "nothing", "a boolean", "an integer", "a number", "a string", "a list", "a table"};
  return names[data_.index()];
}

namespace {

std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      static constexpr char digits[] = "0123456789abcdef";
      out += "\\u00";
      out += digits[byte >> 4];
      out += digits[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

/// The shortest text that reads back as the same double, always recognisable as a number with a
/// fraction.
std::string shortest(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 32> buffer;
  const auto result = std::to_chars(buffer.begin(), buffer.end(), value);
  std::string out(buffer.begin(), result.ptr);
  const bool fractional = out.find_first_of(".e") != std::string::npos;
  return fractional ? out : out + ".0";
}

}  // namespace

std::string key_text(std::string_view key) {
  const bool bare = !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
  return bare ? std::string(key) : toml_string(key);
}

std::string Value::text() const {
  if (const auto* b = as<bool>()) return *b ? "true" : "false";
  if (const auto* i = as<int64_t>()) return std::to_string(*i);
  if (const auto* d = as<double>()) return shortest(*d);
  if (const auto* s = as<std::string>()) return toml_string(*s);
  std::string out;
  if (const auto* array = as<Array>()) {
    for (const auto& item : *array) out += (out.empty() ? "" : ", ") + item.text();
    return "[" + out + "]";
  }
  if (const auto* table = as<Table>()) {
    for (const auto& [key, value] : *table)
      out += (out.empty() ? "" : ", ") + key_text(key) + " = " + value.text();
    return "{" + out + "}";
  }
  return "nothing";
}

}  // namespace moe
