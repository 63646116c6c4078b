#pragma once
// The fields of a protobuf message, read one after another from memory.

#include <cstdint>
#include <cstring>
#include <string_view>

#include <moe/base/error.h>

namespace moe::data {

/// Reads nothing beyond `bytes`; throws Error for a message that goes beyond them.
class ProtobufReader {
 public:
  ProtobufReader(std::string_view bytes, const std::string& source)
      : rest_(bytes), source_(source) {}

  /// Steps to the next field; false at the end.
  bool next() {
    if (rest_.empty()) return false;
    const uint64_t key = varint();
    field_ = static_cast<uint32_t>(key >> 3);
    number_ = 0;
    text_ = {};
    switch (key & 7) {
      case 0:
        number_ = varint();
        return true;
      case 1:
        fixed(8);
        return true;
      case 2:
        text_ = take(varint());
        return true;
      case 5:
        fixed(4);
        return true;
      default:
        refuse();
    }
  }
  uint32_t field() const { return field_; }
  uint64_t number() const { return number_; }
  std::string_view text() const { return text_; }
  float as_float() const {
    float out = 0;
    const auto bits = static_cast<uint32_t>(number_);
    std::memcpy(&out, &bits, sizeof out);
    return out;
  }

 private:
  [[noreturn]] void refuse() const {
    fail("data/tokenizer", "expected a SentencePiece model in ", source_,
         ", got a message that is damaged. Fetch the file again.");
  }
  std::string_view take(uint64_t count) {
    if (count > rest_.size()) refuse();
    const std::string_view out = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return out;
  }
  void fixed(size_t bytes) {
    const std::string_view value = take(bytes);
    std::memcpy(&number_, value.data(), bytes);
  }
  uint64_t varint() {
    uint64_t out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      out |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return out;
    }
    refuse();
  }

  std::string_view rest_;
  const std::string& source_;
  uint32_t field_ = 0;
  uint64_t number_ = 0;
  std::string_view text_;
};

}  // namespace moe::data
