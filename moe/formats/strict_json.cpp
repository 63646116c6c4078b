#include <algorithm>
#include <cstdio>
#include <unordered_set>
#include <vector>

#include <moe/base/error.h>
#include <moe/formats/strict_json.h>

namespace moe::formats {

using nlohmann::json;

nlohmann::json parse_strict_json(std::string_view text, std::string_view place,
                                 std::string_view what, const JsonLimits& limits) {
  // The parser takes a NUL for the end and skips a byte order mark, so neither may reach it.
  check(!text.empty() && text.front() == '{', place, "expected ", what,
        " to be a JSON object that begins with '{', got ",
        text.empty() ? "nothing" : in_quotes(text.substr(0, 1)),
        ". This is no such file, or a damaged one.");
  check(text.find('\0') == text.npos, place, "expected JSON text in ", what,
        ", got a NUL byte. Correct the file, or fetch it again.");

  size_t values = 0;
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    using Event = json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      check(static_cast<size_t>(depth) < limits.depth, place, "expected at most ", limits.depth,
            " nested levels in ", what, ", got more. The file is damaged or hostile.");
      if (event == Event::object_start) keys.emplace_back();
    } else if (event == Event::object_end) {
      keys.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        fail(place, "expected every key once in ", what, ", got ", in_quotes(key),
             " twice. Write the file again.");
    }
    if (event != Event::object_end && event != Event::array_end)
      check(++values <= limits.values, place, "expected at most ", limits.values, " values in ",
            what, ", got more. The file is damaged or hostile.");
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), watch);
  } catch (const json::exception& error) {
    fail(place, "expected valid JSON in ", what, ", got a ", problem_of(error),
         ". Correct the file, or fetch it again.");
  }
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
