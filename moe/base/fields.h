#pragma once
// Typed options. An options struct is a plain aggregate with defaults and one member
//
//   template <class Visitor> void fields(Visitor& v) {
//     v("steps", steps, "optimizer steps");
//   }
//
// which drives reading, writing, help, unknown-key refusal and `--set`. A field is bool, int64_t,
// double, std::string, Table (free-form settings), another options struct, or a std::vector of
// these. `v.rest(table)` takes the keys that no field names, for settings that belong to a kind
// chosen by name; `void find_unknown(UnknownKeys& unknown) const` then asks that kind which of them
// it does not know. A struct may also define `void validate(const std::string& place) const` to
// refuse bad values after reading. A struct with a std::string member `kind` may be written as that
// kind's name alone: objective = "regression".

#include <concepts>

#include <moe/base/error.h>
#include <moe/base/value.h>

namespace moe {

/// What help and documentation show of one field.
struct FieldInfo {
  std::string name;  // dotted for nested structs
  std::string type;
  std::string value;  // the default, as TOML
  std::string help;
};

/// The keys of settings that no field names, collected over all tables in each other, so that a
/// message can list them at once.
class UnknownKeys {
 public:
  explicit UnknownKeys(std::string path) : path_(std::move(path)) {}

  /// Where the settings that are looked at stand: "model.moe".
  const std::string& path() const { return path_; }
  /// Notes every key of `table` that is not `known`.
  void note(const Table& table, const std::vector<std::string>& known);
  /// Calls `look` with the path longer by `part` (".key" or "[0]").
  template <class Look>
  void inside(const std::string& part, const Look& look) {
    const size_t length = path_.size();
    path_ += path_.empty() && part.starts_with('.') ? part.substr(1) : part;
    look();
    path_.resize(length);
  }
  /// Throws ConfigError if there are any.
  void refuse() const;

 private:
  std::string path_;
  std::vector<std::string> notes_;
};

namespace detail {

struct AnyVisitor {
  template <class T>
  void operator()(const char*, T&, const char*) {}
  void rest(Table&) {}
};

template <class T>
concept HasFields = requires(T& t, AnyVisitor& v) {
  t.fields(v);
};
template <class T>
concept HasValidate = requires(const T& t, std::string place) {
  t.validate(place);
};

template <class T>
concept HasFindUnknown = requires(const T& t, UnknownKeys& unknown) {
  t.find_unknown(unknown);
};

/// Options of a kind, or of a kind and what all kinds share: they may stand as its name alone.
template <class T>
concept HasKind = HasFields<T> &&(
    requires(T& t) {
      { t.kind } -> std::same_as<std::string&>;
    } ||
    requires(T & t) {
      { t.rule.kind } -> std::same_as<std::string&>;
    });

template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};

std::string at_line(const Value& value);
void read_scalar(bool& out, const Value& value, const std::string& path);
void read_scalar(int64_t& out, const Value& value, const std::string& path);
void read_scalar(double& out, const Value& value, const std::string& path);
void read_scalar(std::string& out, const Value& value, const std::string& path);
void read_scalar(Table& out, const Value& value, const std::string& path);
[[noreturn]] void wrong_type(const std::string& path, const char* expected, const Value& value);
void move_unknown(const Table& table, const std::vector<std::string>& known, Table& others);
/// { kind = NAME }
Table table_of_kind(const std::string& name);

inline std::string dotted(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : concat(path, '.', key);
}

template <class T>
Value to_value(T& field);

template <class T>
constexpr const char* type_name() {
  if constexpr (std::same_as<T, bool>)
    return "boolean";
  else if constexpr (std::same_as<T, int64_t>)
    return "integer";
  else if constexpr (std::same_as<T, double>)
    return "number";
  else if constexpr (std::same_as<T, std::string>)
    return "string";
  else if constexpr (is_vector<T>::value)
    return "list";
  else
    return "table";
}

}  // namespace detail

/// Reads `table` into `options`; keys that are absent keep their defaults. `path` names the table
/// in messages. Throws ConfigError for unknown keys (all of them, with suggestions), a wrong type
/// or a value `validate` refuses.
template <class Options>
void read_fields(Options& options, const Table& table, const std::string& path);

/// Collects the keys of `table`, and of the tables in it, that no field of `Options` names.
template <class Options>
void find_unknown_keys(const Table& table, UnknownKeys& unknown);

namespace detail {

/// Reads once the keys are known to be right.
template <class Options>
void read_known_fields(Options& options, const Table& table, const std::string& path);

template <class T>
void read_value(T& out, const Value& value, const std::string& path) {
  if constexpr (is_vector<T>::value) {
    const auto* array = value.as<Array>();
    if (!array) wrong_type(path, "a list", value);
    out.clear();
    for (size_t i = 0; i < array->size(); ++i) {
      typename T::value_type item{};
      read_value(item, (*array)[i], concat(path, '[', i, ']'));
      out.push_back(std::move(item));
    }
  } else if constexpr (HasFields<T>) {
    const auto* table = value.as<Table>();
    if constexpr (HasKind<T>)
      if (const auto* kind = value.as<std::string>())
        return read_known_fields(out, table_of_kind(*kind), path);
    if (!table) wrong_type(path, HasKind<T> ? "a table or the name of a kind" : "a table", value);
    read_known_fields(out, *table, path);
  } else {
    read_scalar(out, value, path);
  }
}

struct Reader {
  const Table& table;
  const std::string& path;
  std::vector<std::string> known = {};
  Table* others = nullptr;

  template <class T>
  void operator()(const char* name, T& field, const char*) {
    known.push_back(name);
    if (const Value* value = table.find(name)) read_value(field, *value, dotted(path, name));
  }
  void rest(Table& settings) { others = &settings; }
};

/// Values of a wrong type are passed over: reading refuses them.
template <class T>
void find_unknown_in(const Value& value, UnknownKeys& unknown) {
  if constexpr (is_vector<T>::value) {
    const auto* array = value.as<Array>();
    for (size_t i = 0; array && i < array->size(); ++i)
      unknown.inside(concat('[', i, ']'),
                     [&] { find_unknown_in<typename T::value_type>((*array)[i], unknown); });
  } else if constexpr (HasFields<T>) {
    if (const auto* table = value.as<Table>()) find_unknown_keys<T>(*table, unknown);
  }
}

/// Looks into nested settings. Of the values only text is read: it may name the kind that the rest
/// belongs to.
struct UnknownFinder {
  const Table& table;
  UnknownKeys& unknown;
  std::vector<std::string> known = {};
  Table* others = nullptr;

  template <class T>
  void operator()(const char* name, T& field, const char*) {
    known.push_back(name);
    const Value* value = table.find(name);
    if (!value) return;
    if constexpr (std::same_as<T, std::string>) {
      if (const auto* text = value->as<std::string>()) field = *text;
    } else {
      unknown.inside(concat('.', name), [&] { find_unknown_in<T>(*value, unknown); });
    }
  }
  void rest(Table& settings) { others = &settings; }
};

struct Writer {
  Table table;
  template <class T>
  void operator()(const char* name, T& field, const char*) {
    table.set(name, to_value(field));
  }
  void rest(Table& settings) {
    for (const auto& [key, value] : settings) table.set(key, value);
  }
};

struct Describer {
  std::string prefix;
  std::vector<FieldInfo> infos;
  void rest(Table&) {}
  template <class T>
  void operator()(const char* name, T& field, const char* help) {
    infos.push_back(
        {dotted(prefix, name), type_name<T>(), HasFields<T> ? "" : to_value(field).text(), help});
    if constexpr (HasFields<T>) {
      Describer inner{dotted(prefix, name), {}};
      field.fields(inner);
      infos.insert(infos.end(), inner.infos.begin(), inner.infos.end());
    } else if constexpr (is_vector<T>::value) {
      if constexpr (HasFields<typename T::value_type>) {
        typename T::value_type item{};
        Describer inner{dotted(prefix, name) + "[]", {}};
        item.fields(inner);
        infos.insert(infos.end(), inner.infos.begin(), inner.infos.end());
      }
    }
  }
};

template <class T>
Value to_value(T& field) {
  if constexpr (is_vector<T>::value) {
    Array out;
    for (auto& item : field) out.push_back(to_value(item));
    return out;
  } else if constexpr (HasFields<T>) {
    Writer writer;
    field.fields(writer);
    return writer.table;
  } else {
    return Value(field);
  }
}

}  // namespace detail

template <class Options>
void detail::read_known_fields(Options& options, const Table& table, const std::string& path) {
  Reader reader{table, path, {}};
  options.fields(reader);
  if (reader.others) move_unknown(table, reader.known, *reader.others);
  if constexpr (HasValidate<Options>) options.validate(path);
}

template <class Options>
void find_unknown_keys(const Table& table, UnknownKeys& unknown) {
  Options options{};
  detail::UnknownFinder finder{table, unknown};
  options.fields(finder);
  if (!finder.others) return unknown.note(table, finder.known);
  detail::move_unknown(table, finder.known, *finder.others);
  if constexpr (detail::HasFindUnknown<Options>) options.find_unknown(unknown);
}

template <class Options>
void read_fields(Options& options, const Table& table, const std::string& path) {
  UnknownKeys unknown(path);
  find_unknown_keys<Options>(table, unknown);
  unknown.refuse();
  detail::read_known_fields(options, table, path);
}

/// The options as a table, defaults included.
template <class Options>
Table write_fields(Options options) {
  detail::Writer writer;
  options.fields(writer);
  return writer.table;
}

/// Names, types, defaults and help of every field, nested ones dotted.
template <class Options>
std::vector<FieldInfo> describe_fields() {
  Options options{};
  detail::Describer describer;
  options.fields(describer);
  return describer.infos;
}

}  // namespace moe
