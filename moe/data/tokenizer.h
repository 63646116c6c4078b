#pragma once
// Text to token ids and back.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moe::data {

/// Immutable and thread-safe. decode(encode(text)) == text for every sequence of bytes a tokenizer
/// accepts.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The kind, as make_tokenizer takes it.
  virtual std::string name() const = 0;
  /// Ids lie in [0, vocabulary()).
  virtual int64_t vocabulary() const = 0;
  virtual std::vector<int64_t> encode(std::string_view text) const = 0;
  /// Bytes, which may end inside a UTF-8 character (see Utf8Stream). Throws Error for an id out of
  /// range.
  virtual std::string decode(std::span<const int64_t> tokens) const = 0;
  /// True when token i is byte i, so that a mapped file needs no encoding.
  virtual bool is_bytes() const { return false; }
};

/// Token = byte.
class ByteTokenizer final : public Tokenizer {
 public:
  std::string name() const override { return "byte"; }
  int64_t vocabulary() const override { return 256; }
  std::vector<int64_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int64_t> tokens) const override;
  bool is_bytes() const override { return true; }
};

/// Kinds: "byte". Throws ConfigError for another.
std::shared_ptr<const Tokenizer> make_tokenizer(const std::string& kind);

}  // namespace moe::data
