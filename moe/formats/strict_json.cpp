#include <algorithm>
#include <cstdio>
#include <vector>

#include <moe/base/error.h>
#include <moe/formats/strict_json.h>

namespace moe::formats {

using nlohmann::json;

namespace {

/// Builds a document while the parser reads it, within limits. (The parser's own way to watch, a
/// callback, looks through all of an object whenever one inside it ends: quadratic time.)
class StrictBuilder {
 public:
  StrictBuilder(std::string_view place, std::string_view what, const JsonLimits& limits)
      : place_(place), what_(what), limits_(limits) {}

  json take() { return std::move(root_); }
  const std::string& problem() const { return problem_; }

  // What the parser calls.
  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(json::number_integer_t value) { return add(value); }
  bool number_unsigned(json::number_unsigned_t value) { return add(value); }
  bool number_float(json::number_float_t value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(json::binary_t&) { return false; }  // not in text
  bool start_object(size_t) { return open(json::object()); }
  bool start_array(size_t) { return open(json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    count();
    const auto [member, is_new] = open_.back()->get_ref<json::object_t&>().emplace(name, nullptr);
    if (!is_new)
      fail(place_, "expected every key once in ", what_, ", got ", in_quotes(name),
           " twice. Write the file again.");
    member_ = &member->second;
    return true;
  }
  bool parse_error(size_t, const std::string&, const json::exception& error) {
    problem_ = problem_of(error);
    return false;
  }

 private:
  void count() {
    check(++values_ <= limits_.values, place_, "expected at most ", limits_.values, " values in ",
          what_, ", got more. The file is damaged or hostile.");
  }
  /// The value, where it stands.
  json& put(json value) {
    count();
    if (open_.empty()) return root_ = std::move(value);
    if (open_.back()->is_object()) return *member_ = std::move(value);
    auto& array = open_.back()->get_ref<json::array_t&>();
    return array.emplace_back(std::move(value));
  }
  bool add(json value) {
    put(std::move(value));
    return true;
  }
  bool open(json value) {
    check(open_.size() < limits_.depth, place_, "expected at most ", limits_.depth,
          " nested levels in ", what_, ", got more. The file is damaged or hostile.");
    open_.push_back(&put(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view place_, what_;
  const JsonLimits& limits_;
  json root_;
  std::vector<json*> open_;  // a value that is open is the last of the one that holds it
  json* member_ = nullptr;
  size_t values_ = 0;
  std::string problem_;
};

}  // namespace

nlohmann::json parse_strict_json(std::string_view text, std::string_view place,
                                 std::string_view what, const JsonLimits& limits) {
  // The parser takes a NUL for the end and skips a byte order mark, so neither may reach it.
  check(!text.empty() && text.front() == '{', place, "expected ", what,
        " to be a JSON object that begins with '{', got ",
        text.empty() ? "nothing" : in_quotes(text.substr(0, 1)),
        ". This is no such file, or a damaged one.");
  check(text.find('\0') == text.npos, place, "expected JSON text in ", what,
        ", got a NUL byte. Correct the file, or fetch it again.");

  StrictBuilder builder(place, what, limits);
  if (!json::sax_parse(text.begin(), text.end(), &builder))
    fail(place, "expected valid JSON in ", what, ", got a ", builder.problem(),
         ". Correct the file, or fetch it again.");
  return builder.take();
}

std::string problem_of(const json::exception& error) {
  // Its message begins with its own name, and quotes the text read last, which may be all of it.
  std::string_view problem = error.what();
  problem.remove_prefix(std::min(problem.find("] ") + 2, problem.size()));
  return std::string(problem.substr(0, 160));
}

std::string in_quotes(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, 80)) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) {
      out += c;
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned char>(c));
      out += escape;
    }
  }
  return out + (text.size() > 80 ? "…'" : "'");
}

}  // namespace moe::formats
