#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>

#include <moe/base/error.h>
#include <moe/data/tokenizers/charsmap.h>
#include <moe/data/tokenizers/tiktoken_file.h>
#include <moe/formats/strict_json.h>

namespace moe::data {

namespace {

constexpr size_t kLongestTokenOfFile = 1024;
constexpr size_t kLongestLine = (kLongestTokenOfFile + 2) / 3 * 4 + 16;
constexpr size_t kMostLines = size_t{1} << 22;

struct RankedLine {
  std::string_view base64;
  uint64_t rank = 0;
};

/// "<base64> <rank>"; nothing for another line.
std::optional<RankedLine> divide_line(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == line.npos || space == 0) return std::nullopt;
  const std::string_view number = line.substr(space + 1);
  RankedLine out{line.substr(0, space)};
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), out.rank);
  if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  return out;
}

/// The front line of `rest`, without what ends it.
std::string_view take_line(std::string_view& rest) {
  const size_t end = std::min(rest.find('\n'), rest.size());
  std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

/// The bytes of base64 that is whole and has nothing else in it.
std::optional<std::string> strict_base64(std::string_view text) {
  const size_t signs = text.size() - std::min(text.find('='), text.size());
  if (text.size() % 4 != 0 || signs > 2) return std::nullopt;
  auto out = decode_base64(text);
  if (!out || out->empty() || encode_base64(*out) != text) return std::nullopt;
  return out;
}

}  // namespace

bool is_tiktoken_file(std::string_view bytes) {
  const std::string_view line = take_line(bytes);
  return line.size() <= kLongestLine && divide_line(line).has_value();
}

std::vector<std::string> parse_tiktoken_file(std::string_view bytes, const std::string& source) {
  size_t count = 0;
  for (std::string_view rest = bytes; !rest.empty();) count += !take_line(rest).empty();
  check(count >= 256 && count <= kMostLines, "data/tokenizer", "expected 256 to ", kMostLines,
        " tokens in ", source, ", got ", count, ". Fetch the file again.");
  std::vector<std::string> out(count);
  std::vector<size_t> line_of_rank(count, 0);
  std::unordered_map<std::string, size_t> line_of_token;
  line_of_token.reserve(count);
  size_t number = 0;
  for (std::string_view rest = bytes; !rest.empty();) {
    const std::string_view line = take_line(rest);
    ++number;
    if (line.empty()) continue;
    const auto refuse = [&](const auto&... parts) {
      fail("data/tokenizer", "expected ", parts..., " in line ", number, " of ", source,
           ". Fetch the file again.");
    };
    if (line.size() > kLongestLine)
      refuse("a token of at most ", kLongestTokenOfFile, " bytes and its rank, got ", line.size(),
             " bytes");
    const auto ranked = divide_line(line);
    if (!ranked)
      refuse("a token in base64, a space and its rank, got ",
             formats::in_quotes(std::string(line.substr(0, 80))));
    auto token = strict_base64(ranked->base64);
    if (!token)
      refuse("a token in base64, got ",
             formats::in_quotes(std::string(ranked->base64.substr(0, 80))));
    if (ranked->rank >= count)
      refuse("a rank below ", count, ", the number of tokens, so that none is left out, got ",
             ranked->rank);
    const auto rank = static_cast<size_t>(ranked->rank);
    if (line_of_rank[rank] != 0)
      refuse("every rank once, got ", rank, " as in line ", line_of_rank[rank]);
    const auto [known, is_new] = line_of_token.try_emplace(*token, number);
    if (!is_new) refuse("every token once, got that of line ", known->second);
    line_of_rank[rank] = number;
    out[rank] = std::move(*token);
  }
  for (int byte = 0; byte < 256; ++byte)
    check(line_of_token.contains(std::string(1, static_cast<char>(byte))), "data/tokenizer",
          "expected a token for every byte in ", source, ", got none for byte ", byte,
          ". Fetch the file again.");
  return out;
}

}  // namespace moe::data
