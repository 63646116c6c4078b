#pragma once
// A small tree of settings: what TOML, JSON and `--set` carry, before it is read into typed
// options.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace moe {

class Value;

/// Key-value pairs in the order they were written; keys are unique.
class Table {
 public:
  using Entry = std::pair<std::string, Value>;

  using Iterator = std::vector<Entry>::const_iterator;

  bool empty() const;
  size_t size() const;
  Iterator begin() const;
  Iterator end() const;

  /// The value of `key`, or null.
  const Value* find(std::string_view key) const;
  Value* find(std::string_view key);
  /// Sets `key`, replacing what it had.
  void set(std::string key, Value value);
  std::vector<std::string> keys() const;

 private:
  std::vector<Entry> entries_;
};

using Array = std::vector<Value>;

/// `key` as TOML writes it: in quotes unless it is made of letters, digits, '_' and '-'.
std::string key_text(std::string_view key);

/// One setting. `line` is where it stood in its file (0: not from a file), for error messages.
class Value {
 public:
  Value() = default;
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(int value) : data_(int64_t{value}) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(Array value) : data_(std::move(value)) {}
  Value(Table value) : data_(std::move(value)) {}

  template <class T>
  const T* as() const {
    return std::get_if<T>(&data_);
  }
  template <class T>
  T* as() {
    return std::get_if<T>(&data_);
  }
  bool empty() const { return std::holds_alternative<std::monostate>(data_); }
  /// "a string", "an integer", … for messages.
  std::string_view type_name() const;
  /// The value as TOML would write it inline.
  std::string text() const;

  int line = 0;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Table> data_;
};

// Behind Value: what these need of an entry is known only here.
inline bool Table::empty() const {
  return entries_.empty();
}
inline size_t Table::size() const {
  return entries_.size();
}
inline Table::Iterator Table::begin() const {
  return entries_.begin();
}
inline Table::Iterator Table::end() const {
  return entries_.end();
}

}  // namespace moe
