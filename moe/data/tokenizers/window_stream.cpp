#include <algorithm>

#include <moe/data/tokenizers/pipeline_tokenizer.h>

namespace moe::data {

namespace {

constexpr std::string_view kUnfinished = "\xEF\xBF\xBD";  // how a decoder shows half a character
constexpr size_t kTokensBefore = 6;
/// Bytes of one character come in fewer tokens; what stays unfinished for longer stays so.
constexpr size_t kMostHeldBack = 8;

}  // namespace

WindowStream::WindowStream(const Tokenizer& tokenizer, std::span<const int64_t> before)
    : tokenizer_(tokenizer) {
  before = before.last(std::min(before.size(), kTokensBefore));
  window_.assign(before.begin(), before.end());
  old_ = window_.size();
  old_text_ = tokenizer_.decode(window_);
}

std::string WindowStream::push(int64_t token) {
  window_.push_back(token);
  const std::string text = tokenizer_.decode(window_);
  const bool unfinished = text.ends_with(kUnfinished) && window_.size() - old_ < kMostHeldBack;
  if (unfinished || text.size() <= old_text_.size()) return "";
  return take_on(text);
}

std::string WindowStream::flush() {
  if (window_.size() == old_) return "";
  return take_on(tokenizer_.decode(window_));
}

std::string WindowStream::take_on(const std::string& text) {
  // Where a new token changed what was handed on (half a character before the text), what both
  // have in common stays.
  const size_t common =
      static_cast<size_t>(std::ranges::mismatch(text, old_text_).in1 - text.begin());
  std::string out =
      text.substr(std::min(text.starts_with(old_text_) ? old_text_.size() : common, text.size()));
  window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(old_));
  old_ = window_.size();
  old_text_ = tokenizer_.decode(window_);
  return out;
}

}  // namespace moe::data
