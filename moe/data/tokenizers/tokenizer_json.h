#pragma once
// Reading the values of a tokenizer.json. Includes nlohmann-json: for .cpp files of the library
// only.

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <moe/base/error.h>
#include <moe/formats/strict_json.h>

namespace moe::data {

/// Larger files are refused; a quarter of a million tokens with their merges take about half of it.
inline constexpr uint64_t kLargestTokenizerJson = 64u << 20;

/// The document in `text`, checked to be JSON of bounded depth and size. `source` names the file.
inline nlohmann::json parse_tokenizer_document(std::string_view text, const std::string& source) {
  return formats::parse_strict_json(text, "data/tokenizer", concat("the tokenizer '", source, '\''),
                                    {.depth = 32, .values = size_t{1} << 23});
}

/// The document with the name that messages give it.
class TokenizerJson {
 public:
  explicit TokenizerJson(const std::string& source) : source_(source) {}

  /// "expected <expected> at '<where>' of <source>, got <found>.<remedy>"
  [[noreturn]] void refuse(std::string_view where, std::string_view expected,
                           std::string_view found,
                           std::string_view remedy = " Write the file again.") const {
    fail("data/tokenizer", "expected ", expected, " at '", where, "' of ", source_, ", got ", found,
         '.', remedy);
  }

  /// What messages say of a value: its type in the sense of tokenizer.json if it has one, else of
  /// JSON.
  static std::string describe(const nlohmann::json& value) {
    if (value.is_object()) {
      const auto type = value.find("type");
      if (type != value.end() && type->is_string())
        return concat("the type ", formats::in_quotes(type->get_ref<const std::string&>()));
    }
    if (value.is_string()) return formats::in_quotes(value.get_ref<const std::string&>());
    return value.is_number() || value.is_boolean() ? value.dump() : std::string(value.type_name());
  }

  /// Checks that `object` is an object with no other keys than `known`.
  void check_keys(const nlohmann::json& object, const std::string& where,
                  const std::vector<std::string>& known,
                  std::string_view remedy = " This version does not know it.") const {
    if (!object.is_object()) refuse(where, "an object", describe(object));
    for (const auto& item : object.items()) {
      bool is_known = false;
      for (const auto& key : known) is_known |= key == item.key();
      if (!is_known)
        refuse(where, concat("no other keys than ", join(known)), formats::in_quotes(item.key()),
               remedy);
    }
  }

  const nlohmann::json& at(const nlohmann::json& object, const std::string& where,
                           const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) refuse(concat(where, key), "a value", "none");
    return *found;
  }
  /// The value under `key`, or null.
  static const nlohmann::json& find(const nlohmann::json& object, const char* key) {
    static const nlohmann::json kNull;
    const auto found = object.find(key);
    return found == object.end() ? kNull : *found;
  }
  const nlohmann::json& array_at(const nlohmann::json& object, const std::string& where,
                                 const char* key) const {
    const nlohmann::json& value = at(object, where, key);
    if (!value.is_array()) refuse(concat(where, key), "an array", describe(value));
    return value;
  }
  bool bool_at(const nlohmann::json& object, const std::string& where, const char* key) const {
    const nlohmann::json& value = at(object, where, key);
    if (!value.is_boolean()) refuse(concat(where, key), "true or false", describe(value));
    return value.get<bool>();
  }
  const std::string& string_at(const nlohmann::json& object, const std::string& where,
                               const char* key) const {
    const nlohmann::json& value = at(object, where, key);
    if (!value.is_string()) refuse(concat(where, key), "a string", describe(value));
    return value.get_ref<const std::string&>();
  }
  int64_t integer_at(const nlohmann::json& object, const std::string& where,
                     const char* key) const {
    const nlohmann::json& value = at(object, where, key);
    if (!value.is_number_integer() || value < 0 || value > (int64_t{1} << 40))
      refuse(concat(where, key), "an integer in [0, 2^40]", describe(value));
    return value.get<int64_t>();
  }
  bool bool_or(const nlohmann::json& object, const std::string& where, const char* key,
               bool other) const {
    return object.contains(key) ? bool_at(object, where, key) : other;
  }

  const std::string& source() const { return source_; }

 private:
  const std::string& source_;
};

}  // namespace moe::data
