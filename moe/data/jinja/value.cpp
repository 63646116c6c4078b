#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <nlohmann/json.hpp>

#include <moe/base/error.h>
#include <moe/data/jinja/value.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data::jinja {

namespace {

constexpr int kDeepest = 64;
constexpr const char* kPlaceOfValue = "chat template";

/// Python's repr of a float: the shortest digits that give it again, with a point.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> digits = {};
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string out(digits.data(), end.ptr);
  if (plain && out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string string_repr(const std::string& text) {
  const char quote =
      text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\')
      out.append(1, '\\').append(1, c);
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (byte < 0x20 || byte == 0x7F)
      out.append("\\x")
          .append(1, "0123456789abcdef"[byte >> 4])
          .append(1, "0123456789abcdef"[byte & 15]);
    else
      out += c;
  }
  return out + quote;
}

std::string repr(const Value& value, int depth) {
  check(depth < kDeepest, kPlaceOfValue, "expected values nested at most ", kDeepest,
        " deep, got deeper ones. Correct the template or the messages.");
  if (const auto* text = value.string()) return string_repr(*text);
  if (const auto* list = value.list()) {
    std::string out = "[";
    for (size_t i = 0; i < list->size(); ++i)
      out.append(i == 0 ? "" : ", ").append(repr((*list)[i], depth + 1));
    return out + "]";
  }
  if (const auto* dict = value.dict()) {
    std::string out = "{";
    for (size_t i = 0; i < dict->size(); ++i)
      out.append(i == 0 ? "" : ", ")
          .append(repr((*dict)[i].first, depth + 1))
          .append(": ")
          .append(repr((*dict)[i].second, depth + 1));
    return out + "}";
  }
  return value.text();
}

/// As good as without end: sums of sizes stop there.
constexpr size_t kMuch = size_t{1} << 60;

void add_to(Size& size, const Size& item) {
  size.comparisons = std::min(size.comparisons + item.comparisons, kMuch);
  size.bytes = std::min(size.bytes + item.bytes, kMuch);
  size.depth = std::max(size.depth, item.depth + 1);
}

const Size& checked(const Size& size) {
  check(size.depth <= kDeepest, kPlaceOfValue, "expected values nested at most ", kDeepest,
        " deep, got deeper ones. Correct the template.");
  return size;
}

std::string json_string(const std::string& text, bool ascii) {
  return nlohmann::json(text).dump(-1, ' ', ascii, nlohmann::json::error_handler_t::replace);
}

}  // namespace

const Value* Arguments::find(size_t place, std::string_view name) const {
  if (place < positional.size()) return &positional[place];
  for (const auto& [key, value] : named)
    if (key == name) return &value;
  return nullptr;
}

Value::Value(List value) {
  Size size;
  for (const auto& item : value) add_to(size, item.size());
  value_ = std::make_shared<const Sized<List>>(Sized<List>{std::move(value), checked(size)});
}
Value::Value(Dict value) {
  Size size;
  for (const auto& [key, item] : value) {
    add_to(size, key.size());
    add_to(size, item.size());
  }
  size.comparisons = std::min(size.comparisons, kMuch / (value.size() + 1)) * (value.size() + 1);
  value_ = std::make_shared<const Sized<Dict>>(Sized<Dict>{std::move(value), checked(size)});
}
Value::Value(Function value, const Value& of) {
  Size size;
  add_to(size, of.size());
  value_ = std::make_shared<const Sized<Function>>(
      Sized<Function>{std::move(value), {.depth = checked(size).depth}});
}
Value::Value(Function value) : Value(std::move(value), Value()) {}

const List* Value::list() const {
  const auto* found = as<std::shared_ptr<const Sized<List>>>();
  return found ? &(*found)->value : nullptr;
}
const Dict* Value::dict() const {
  const auto* found = as<std::shared_ptr<const Sized<Dict>>>();
  return found ? &(*found)->value : nullptr;
}
const Function* Value::function() const {
  const auto* found = as<std::shared_ptr<const Sized<Function>>>();
  return found ? &(*found)->value : nullptr;
}
Size Value::size() const {
  if (const auto* text = string())
    return {.comparisons = 1 + text->size() / 256, .bytes = text->size() + 8};
  if (const auto* held = as<std::shared_ptr<const Sized<List>>>()) return (*held)->size;
  if (const auto* held = as<std::shared_ptr<const Sized<Dict>>>()) return (*held)->size;
  if (const auto* held = as<std::shared_ptr<const Sized<Function>>>()) return (*held)->size;
  return {};
}
std::shared_ptr<Namespace> Value::space() const {
  const auto* found = as<std::shared_ptr<Namespace>>();
  return found ? *found : nullptr;
}

double Value::number() const {
  if (const auto* real = as<double>()) return *real;
  return static_cast<double>(integer());
}

int64_t Value::integer() const {
  if (const auto* whole = as<int64_t>()) return *whole;
  if (const auto* flag = as<bool>()) return *flag;
  return static_cast<int64_t>(*as<double>());
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return number() != 0;
  if (const auto* text = string()) return !text->empty();
  if (list()) return !list()->empty();
  if (dict()) return !dict()->empty();
  return true;
}

std::string Value::text() const {
  if (is_undefined()) return "";
  if (is_none()) return "None";
  if (const auto* flag = as<bool>()) return *flag ? "True" : "False";
  if (const auto* whole = as<int64_t>()) return std::to_string(*whole);
  if (const auto* real = as<double>()) return float_text(*real);
  if (const auto* text = string()) return *text;
  if (list() || dict()) return repr(*this, 0);
  return function() ? "<function>" : "<Namespace>";
}

std::string Value::quoted() const {
  return repr(*this, 0);
}

const char* Value::type() const {
  constexpr const char* kNames[] = {"Undefined", "NoneType", "bool", "int",      "float",
                                    "str",       "list",     "dict", "function", "Namespace"};
  return kNames[value_.index()];
}

const Value* Value::get(std::string_view key) const {
  if (const auto* entries = dict())
    for (const auto& [name, value] : *entries)
      if (name.string() && *name.string() == key) return &value;
  return nullptr;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number())
    return a.is_integer() && b.is_integer() ? a.integer() == b.integer() : a.number() == b.number();
  if (a.string() && b.string()) return *a.string() == *b.string();
  if (a.list() && b.list()) return std::ranges::equal(*a.list(), *b.list(), equal);
  if (a.dict() && b.dict()) {
    if (a.dict()->size() != b.dict()->size()) return false;
    return std::ranges::all_of(*a.dict(), [&](const auto& entry) {
      return std::ranges::any_of(*b.dict(), [&](const auto& other) {
        return equal(entry.first, other.first) && equal(entry.second, other.second);
      });
    });
  }
  if (a.function() && b.function()) return a.function() == b.function();
  if (a.space() && b.space()) return a.space() == b.space();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

int compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    const double left = a.number(), right = b.number();
    return left < right ? -1 : left > right;
  }
  if (a.string() && b.string()) return a.string()->compare(*b.string());
  if (a.list() && b.list()) {
    for (size_t i = 0; i < std::min(a.list()->size(), b.list()->size()); ++i)
      if (const int order = compare((*a.list())[i], (*b.list())[i])) return order;
    return static_cast<int>(a.list()->size()) - static_cast<int>(b.list()->size());
  }
  fail(kPlaceOfValue, "expected two values that have an order, got ", a.type(), " and ", b.type(),
       ". The template is not for these messages.");
}

Value from_json(const nlohmann::ordered_json& json) {
  if (json.is_null()) return None{};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array()) {
    List out;
    for (const auto& item : json) out.push_back(from_json(item));
    return out;
  }
  Dict out;
  for (const auto& item : json.items()) out.emplace_back(item.key(), from_json(item.value()));
  return out;
}

std::string to_json(const Value& value, const JsonStyle& style, int depth) {
  check(depth < kDeepest, kPlaceOfValue, "expected values nested at most ", kDeepest,
        " deep for tojson, got deeper ones. Correct the template or the messages.");
  if (value.is_none()) return "null";
  if (const auto* flag = value.as<bool>()) return *flag ? "true" : "false";
  if (value.is_number()) return value.text();
  if (const auto* text = value.string()) return json_string(*text, style.ascii);
  const bool lines = style.indent >= 0;
  const auto line = [&](int inside) {
    return lines ? '\n' + std::string(static_cast<size_t>(style.indent * inside), ' ') : "";
  };
  // A separator before a line break has no space.
  const std::string comma = lines && style.item_separator == ", " ? "," : style.item_separator;
  std::vector<std::string> items;
  if (const auto* list = value.list())
    for (const auto& item : *list) items.push_back(to_json(item, style, depth + 1));
  else if (const auto* dict = value.dict()) {
    Dict entries = *dict;
    if (style.sort_keys)
      std::ranges::stable_sort(
          entries, [](const auto& a, const auto& b) { return a.first.text() < b.first.text(); });
    for (const auto& [key, item] : entries)
      items.push_back(json_string(key.text(), style.ascii) + style.key_separator +
                      to_json(item, style, depth + 1));
  } else {
    fail(kPlaceOfValue, "expected a value that JSON can hold for tojson, got ", value.type(),
         ". The template is not for these messages.");
  }
  const char* brackets = value.list() ? "[]" : "{}";
  if (items.empty()) return brackets;
  std::string out(1, brackets[0]);
  for (size_t i = 0; i < items.size(); ++i)
    out.append(i == 0 ? "" : comma).append(line(depth + 1)).append(items[i]);
  return out.append(line(depth)).append(1, brackets[1]);
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const size_t length = std::min<size_t>(first_code_point(text).length, text.size());
    out.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace moe::data::jinja
