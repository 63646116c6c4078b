#include <moe/data/utf8.h>

namespace moe::data {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace

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
