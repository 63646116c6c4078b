#pragma once
// The file of a tiktoken vocabulary: a line a token, its bytes in base64 and its rank.

#include <string>
#include <string_view>
#include <vector>

namespace moe::data {

/// Whether `bytes` begin as such a file does: base64, a space, a number.
bool is_tiktoken_file(std::string_view bytes);

/// The bytes of the tokens by their ranks. `source` names the file in messages, with the line.
/// Throws Error for lines that are no token and rank or too long, for bytes or ranks that come
/// twice, for ranks that leave a hole, and unless every single byte has a token.
std::vector<std::string> parse_tiktoken_file(std::string_view bytes, const std::string& source);

}  // namespace moe::data
