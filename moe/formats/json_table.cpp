#include <cmath>

#include <moe/base/error.h>
#include <moe/formats/json_table.h>
#include <moe/formats/strict_json.h>

namespace moe::formats {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

Value value_of(const json& item, std::string_view place, std::string_view what) {
  if (item.is_null()) return {};
  if (item.is_boolean()) return item.get<bool>();
  if (item.is_string()) return item.get<std::string>();
  if (item.is_number_float()) {
    const auto number = item.get<double>();
    check(std::isfinite(number), place, "expected numbers that a double holds in ", what,
          ", got a larger one.");
    return number;
  }
  if (item.is_number()) {
    check(!item.is_number_unsigned() || item.get<uint64_t>() <= INT64_MAX, place,
          "expected whole numbers below 2^63 in ", what, ", got ", item.dump(), '.');
    return item.get<int64_t>();
  }
  if (item.is_array()) {
    Array out;
    for (const auto& one : item) out.push_back(value_of(one, place, what));
    return out;
  }
  Table out;
  for (const auto& [key, one] : item.items()) out.set(key, value_of(one, place, what));
  return out;
}

ordered_json json_of(const Value& value) {
  if (const auto* flag = value.as<bool>()) return *flag;
  if (const auto* number = value.as<int64_t>()) return *number;
  if (const auto* number = value.as<double>()) {
    check(std::isfinite(*number), "formats/json", "expected a finite number, got ", *number,
          ": JSON has no other. Correct it.");
    return *number;
  }
  if (const auto* text = value.as<std::string>()) return *text;
  if (const auto* array = value.as<Array>()) {
    auto out = ordered_json::array();
    for (const auto& item : *array) out.push_back(json_of(item));
    return out;
  }
  if (const auto* table = value.as<Table>()) {
    auto out = ordered_json::object();
    for (const auto& [key, item] : *table) out[key] = json_of(item);
    return out;
  }
  return nullptr;
}

}  // namespace

Table parse_json_table(std::string_view text, std::string_view place, std::string_view what) {
  const Value value =
      value_of(parse_strict_json(text, place, what, {.values = 20'000}), place, what);
  return *value.as<Table>();
}

std::string format_json_table(const Table& table) {
  return json_of(table).dump(2) + '\n';
}

}  // namespace moe::formats
