#include <moe/data/utf8.h>

namespace moe::data {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace

Utf8Piece next_utf8(std::string_view bytes) {
  using Kind = Utf8Piece::Kind;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {Kind::kCharacter, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::kInvalid, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte rules out overlong forms, surrogates and what lies beyond U+10FFFF.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Kind::kIncomplete, i};
    if (byte(i) < (i == 1 ? low : 0x80) || byte(i) > (i == 1 ? high : 0xBF))
      return {Kind::kInvalid, i};
  }
  return {Kind::kCharacter, length};
}

std::string Utf8Stream::push(std::string_view bytes) {
  waiting_ += bytes;
  std::string out;
  std::string_view rest = waiting_;
  while (!rest.empty()) {
    const auto piece = next_utf8(rest);
    if (piece.kind == Utf8Piece::Kind::kIncomplete) break;
    out += piece.kind == Utf8Piece::Kind::kCharacter ? rest.substr(0, piece.length) : kReplacement;
    rest.remove_prefix(piece.length);
  }
  waiting_ = std::string(rest);
  return out;
}

std::string Utf8Stream::flush() {
  // What waits is the beginning of one character, so one replacement stands for all of it.
  std::string out(waiting_.empty() ? std::string_view() : kReplacement);
  waiting_.clear();
  return out;
}

}  // namespace moe::data
