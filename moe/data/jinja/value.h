#pragma once
// Values of templates, with the meaning they have in Python.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace moe::data::jinja {

class Value;
class Interpreter;
using List = std::vector<Value>;
/// In the order in which keys came.
using Dict = std::vector<std::pair<Value, Value>>;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// The argument at `place` or called `name`; null when it is not given.
  const Value* find(size_t place, std::string_view name) const;
};

using Function = std::function<Value(Interpreter&, const Arguments&)>;

struct Undefined {
  std::string name;
};
struct None {};
struct Namespace {
  std::vector<std::pair<std::string, Value>> fields;
};

/// What going through a value takes.
struct Size {
  /// Comparisons with another value, at most: one for each value in it, itself included, and for
  /// each 256 bytes of a string; of a table each key meets all the other's.
  size_t comparisons = 1;
  /// Of its text, about.
  size_t bytes = 8;
  /// Values inside one another.
  int depth = 0;
};

/// Something shared, whose size was taken when it was made: a value may be in a list many times.
template <class T>
struct Sized {
  T value;
  Size size;
};

/// Lists and dicts never change; a namespace is the one thing that does. Throws Error for lists and
/// dicts inside one another too deep.
class Value {
 public:
  // A copy shares what it holds: memory is what was made, however often it is somewhere.
  using Variant =
      std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
                   std::shared_ptr<const Sized<List>>, std::shared_ptr<const Sized<Dict>>,
                   std::shared_ptr<const Sized<Function>>, std::shared_ptr<Namespace>>;

  Value() = default;
  Value(Undefined value) : value_(std::move(value)) {}
  Value(None value) : value_(value) {}
  Value(bool value) : value_(value) {}
  Value(int64_t value) : value_(value) {}
  Value(double value) : value_(value) {}
  Value(std::string value) : value_(std::make_shared<const std::string>(std::move(value))) {}
  Value(std::string_view value) : Value(std::string(value)) {}
  Value(const char* value) : Value(std::string(value)) {}
  Value(List value);
  Value(Dict value);
  /// A function that holds `of`, a method's value.
  Value(Function value, const Value& of);
  Value(Function value);
  Value(std::shared_ptr<Namespace> value) : value_(std::move(value)) {}

  template <class T>
  const T* as() const {
    return std::get_if<T>(&value_);
  }
  const std::string* string() const {
    const auto* found = as<std::shared_ptr<const std::string>>();
    return found ? found->get() : nullptr;
  }
  /// Null for another kind.
  const List* list() const;
  const Dict* dict() const;
  const Function* function() const;
  std::shared_ptr<Namespace> space() const;

  bool is_undefined() const { return as<Undefined>() != nullptr; }
  bool is_none() const { return as<None>() != nullptr; }
  bool is_number() const { return as<int64_t>() || as<double>() || as<bool>(); }
  bool is_integer() const { return as<int64_t>() || as<bool>(); }
  /// Of a number.
  double number() const;
  int64_t integer() const;

  Size size() const;

  /// What `if` asks.
  bool truth() const;
  /// What {{ }} writes: Python's str().
  std::string text() const;
  /// Python's repr().
  std::string quoted() const;
  /// Python's name of its type.
  const char* type() const;
  /// The value under a key of a dict; null where there is none.
  const Value* get(std::string_view key) const;

 private:
  Variant value_;
};

bool equal(const Value& a, const Value& b);

/// Less than zero, zero, more than zero; throws Error for kinds that have no order.
int compare(const Value& a, const Value& b);

/// From JSON: objects become dicts, arrays lists.
Value from_json(const nlohmann::ordered_json& json);

struct JsonStyle {
  int indent = -1;  // none
  bool ascii = false, sort_keys = false;
  std::string item_separator = ", ", key_separator = ": ";
};
/// Python's json.dumps. Throws Error for what JSON cannot hold.
std::string to_json(const Value& value, const JsonStyle& style, int depth = 0);

/// Characters of UTF-8 text, each as a part of it.
std::vector<std::string_view> characters(std::string_view text);

}  // namespace moe::data::jinja
