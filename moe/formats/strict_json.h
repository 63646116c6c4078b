#pragma once
// JSON from untrusted files. Includes nlohmann-json: for .cpp files of the library only.

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace moe::formats {

/// What a document may cost before it is refused.
struct JsonLimits {
  size_t depth = 16;
  size_t values = size_t{1} << 24;
};

/// Parses one JSON object. `what` names the document in messages ("the header of 'x'"). Throws
/// moe::Error for anything but an object, text after it, repeated keys, text that is not UTF-8, NUL
/// bytes, and more than `limits` allow.
nlohmann::json parse_strict_json(std::string_view text, std::string_view place,
                                 std::string_view what, const JsonLimits& limits = {});

/// What is wrong with a text as the parser says it, without the parser's own name and short.
std::string problem_of(const nlohmann::json::exception& error);

/// `text` in quotes for a message: control characters escaped, shortened to about 80 characters.
std::string in_quotes(std::string_view text);

}  // namespace moe::formats
