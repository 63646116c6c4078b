#include <algorithm>
#include <cstring>

#include <moe/base/error.h>
#include <moe/data/tokenizers/charsmap.h>

namespace moe::data {

namespace {

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

Charsmap::Charsmap(std::string_view blob) {
  if (blob.empty()) return;
  uint32_t bytes = 0;
  const bool has_size = blob.size() > sizeof bytes;
  if (has_size) std::memcpy(&bytes, blob.data(), sizeof bytes);
  check(has_size && bytes >= 4 && bytes % 4 == 0 && bytes <= blob.size() - sizeof bytes,
        "data/tokenizer", "expected a precompiled map of characters with its trie, got ",
        blob.size(), " bytes with a trie of ", bytes, ". The file is damaged: fetch it again.");
  units_.resize(bytes / 4);
  std::memcpy(units_.data(), blob.data() + sizeof bytes, bytes);
  replacements_ = blob.substr(sizeof bytes + bytes);
}

std::optional<Charsmap::Found> Charsmap::find(std::string_view text, bool first) const {
  std::optional<Found> out;
  if (units_.empty()) return out;
  const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); };
  constexpr size_t kLongestKey = 1024;  // a trie that lies may have no end
  uint32_t at = offset(units_[0]);
  for (size_t i = 0; i < std::min(text.size(), kLongestKey); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= units_.size()) break;
    const uint32_t unit = units_[at];
    if ((unit & 0x800000FFu) != byte) break;
    at ^= offset(unit);
    if (at >= units_.size()) break;
    if (!(unit >> 8 & 1)) continue;
    const uint32_t place = units_[at] & 0x7FFFFFFFu;
    if (place >= replacements_.size()) break;
    const size_t end = std::min(replacements_.find('\0', place), replacements_.size());
    out = Found{i + 1, std::string_view(replacements_).substr(place, end - place)};
    if (first) break;
  }
  return out;
}

std::optional<std::string> decode_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() / 4 * 3 + 3);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const size_t value = kBase64.find(c);
    if (value == kBase64.npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xFF);
  }
  return out;
}

std::string encode_base64(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() / 3 * 4 + 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j)
      bits = bits << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (size_t j = 0; j < 4; ++j)
      out += i + j <= bytes.size() ? kBase64[bits >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

}  // namespace moe::data
