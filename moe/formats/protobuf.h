#pragma once
// Writing protocol buffer messages (https://protobuf.dev/programming-guides/encoding) field by
// field: numbers, bytes and messages within messages. There is no reader and no schema.

#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace moe::formats {

/// One message being written. Fields appear in the order of the calls; a field written twice is a
/// repeated one.
class ProtobufMessage {
 public:
  ProtobufMessage& integer(uint32_t field, int64_t value) {
    tag(field, kVarint);
    varint(static_cast<uint64_t>(value));
    return *this;
  }
  ProtobufMessage& float32(uint32_t field, float value) {
    tag(field, kFixed32);
    fixed(std::bit_cast<uint32_t>(value), 4);
    return *this;
  }
  ProtobufMessage& float64(uint32_t field, double value) {
    tag(field, kFixed64);
    fixed(std::bit_cast<uint64_t>(value), 8);
    return *this;
  }
  ProtobufMessage& text(uint32_t field, std::string_view value) {
    tag(field, kLength);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  ProtobufMessage& message(uint32_t field, const ProtobufMessage& value) {
    return text(field, value.bytes());
  }
  /// A packed repeated field.
  ProtobufMessage& float64s(uint32_t field, std::span<const double> values) {
    tag(field, kLength);
    varint(8 * values.size());
    for (const double value : values) fixed(std::bit_cast<uint64_t>(value), 8);
    return *this;
  }

  const std::string& bytes() const { return bytes_; }

 private:
  enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };

  void tag(uint32_t field, Wire wire) { varint(uint64_t{field} << 3 | wire); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  /// Little-endian on every machine.
  void fixed(uint64_t value, int count) {
    for (int i = 0; i < count; ++i) bytes_ += static_cast<char>(value >> (8 * i));
  }

  std::string bytes_;
};

}  // namespace moe::formats
