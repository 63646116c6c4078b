#include <array>
#include <cmath>
#include <cstdio>

#include <moe/base/text.h>
#include <moe/base/utf8.h>
#include <report/html.h>

namespace moe::report {

namespace {

constexpr std::string_view kNoNumber = "–";

std::string printed(const char* format, double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

/// printf's minus is a hyphen; readers get the sign.
std::string with_minus(std::string text) {
  if (text.starts_with('-')) text.replace(0, 1, "−");
  return text;
}

void append_escaped(std::string& out, std::string_view character) {
  const auto code = static_cast<unsigned char>(character[0]);
  switch (character[0]) {
    case '&':
      out += "&amp;";
      return;
    case '<':
      out += "&lt;";
      return;
    case '>':
      out += "&gt;";
      return;
    case '"':
      out += "&quot;";
      return;
    case '\'':
      out += "&#39;";
      return;
    case '\t':
    case '\n':
      out += character;
      return;
    default:
      break;
  }
  if (code < 0x20) {
    out += "\xE2\x90";  // U+2400 and the control character's number
    out += static_cast<char>(0x80 + code);
  } else if (code == 0x7F) {
    out += "\xE2\x90\xA1";
  } else {
    out += character;
  }
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  while (!text.empty()) {
    const auto piece = next_utf8(text);
    if (piece.kind == Utf8Piece::Kind::kCharacter)
      append_escaped(out, text.substr(0, piece.length));
    else
      out += "\xEF\xBF\xBD";
    text.remove_prefix(piece.length);
  }
  return out;
}

std::string escaped_json(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  for (const char c : json) c == '<' ? out += "\\u003c" : out += c;
  return out;
}

std::string fixed(double value, int digits) {
  if (!std::isfinite(value)) return std::string(kNoNumber);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return with_minus(text.data());
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return std::string(kNoNumber);
  if (value == std::round(value) && std::abs(value) < 1e6)
    return with_minus(std::to_string(static_cast<int64_t>(value)));
  return with_minus(printed("%.4g", value));
}

std::string compact(double value) {
  if (!std::isfinite(value)) return std::string(kNoNumber);
  const double size = std::abs(value);
  if (size < 1e3) return with_minus(printed("%.3g", value));
  if (size < 1e4) return with_minus(grouped(std::llround(value)));
  constexpr std::array<const char*, 5> kUnits = {" k", " M", " G", " T", " P"};
  double scaled = value / 1e3;
  size_t unit = 0;
  while (std::abs(scaled) >= 999.5 && unit + 1 < kUnits.size()) {
    scaled /= 1e3;
    ++unit;
  }
  return with_minus(printed("%.3g", scaled)) + kUnits[unit];
}

std::string percent(double share, int digits) {
  return std::isfinite(share) ? fixed(100 * share, digits) + " %" : std::string(kNoNumber);
}

std::string signed_number(double value, int digits) {
  return (value > 0 ? "+" : "") + fixed(value, digits);
}

std::string coordinate(double value) {
  std::string text = printed("%.1f", value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text == "-0" ? "0" : text;
}

std::string plural(int64_t count, std::string_view noun) {
  return grouped(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
}

}  // namespace moe::report
