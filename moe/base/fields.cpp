#include <algorithm>

#include <moe/base/fields.h>

namespace moe {

namespace detail {

std::string at_line(const Value& value) {
  return value.line > 0 ? concat(" (line ", value.line, ")") : "";
}

void wrong_type(const std::string& path, const char* expected, const Value& value) {
  fail<ConfigError>("config", "expected ", expected, " for '", path, "'", at_line(value), ", got ",
                    value.type_name(), ": ", value.text(), ". Correct the value.");
}

void read_scalar(bool& out, const Value& value, const std::string& path) {
  const auto* b = value.as<bool>();
  if (!b) wrong_type(path, "true or false", value);
  out = *b;
}

void read_scalar(int64_t& out, const Value& value, const std::string& path) {
  const auto* i = value.as<int64_t>();
  if (!i) wrong_type(path, "an integer", value);
  out = *i;
}

void read_scalar(double& out, const Value& value, const std::string& path) {
  if (const auto* d = value.as<double>())
    out = *d;
  else if (const auto* i = value.as<int64_t>())
    out = static_cast<double>(*i);
  else
    wrong_type(path, "a number", value);
}

void read_scalar(std::string& out, const Value& value, const std::string& path) {
  const auto* s = value.as<std::string>();
  if (!s) wrong_type(path, "a string", value);
  out = *s;
}

void read_scalar(Table& out, const Value& value, const std::string& path) {
  const auto* t = value.as<Table>();
  if (!t) wrong_type(path, "a table", value);
  out = *t;
}

void move_unknown(const Table& table, const std::vector<std::string>& known, Table& others) {
  for (const auto& [key, value] : table)
    if (std::find(known.begin(), known.end(), key) == known.end()) others.set(key, value);
}

Table table_of_kind(const std::string& name) {
  Table out;
  out.set("kind", name);
  return out;
}

}  // namespace detail

void UnknownKeys::note(const Table& table, const std::vector<std::string>& known) {
  for (const auto& [key, value] : table) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string suggestion = did_you_mean(key, known);
    notes_.push_back(concat('\'', detail::dotted(path_, key_text(key)), '\'',
                            detail::at_line(value), '.', suggestion));
    if (suggestion.empty())
      notes_.back() += known.empty() ? " There are no settings here."
                                     : concat(" Known here: ", join(known), '.');
  }
}

void UnknownKeys::refuse() const {
  if (notes_.size() == 1)
    fail<ConfigError>("config", "expected known keys only, got ", notes_.front(),
                      " Correct or remove it.");
  if (!notes_.empty())
    fail<ConfigError>("config", "expected known keys only, got ", notes_.size(),
                      " unknown. Correct or remove them:", indented_list(notes_));
}

}  // namespace moe
