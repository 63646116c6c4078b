#pragma once
// Text to token ids and back.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moe::data {

/// Text from tokens that come one after another.
class TokenStream {
 public:
  virtual ~TokenStream() = default;
  /// The bytes that are certain now that `token` has come; they may end inside a character only
  /// where the tokenizer's `decode` does. Throws Error for an id out of range.
  virtual std::string push(int64_t token) = 0;
  /// What was held back, for the end of the text.
  virtual std::string flush() = 0;
};

/// Immutable and thread-safe. decode(encode(text)) == text for every sequence of bytes, but for
/// what a kind says it adds.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// As make_tokenizer takes it.
  virtual std::string name() const = 0;
  /// Ids lie in [0, vocabulary()).
  virtual int64_t vocabulary() const = 0;
  virtual std::vector<int64_t> encode(std::string_view text) const = 0;
  /// The ids of `encode`, and those that the tokenizer puts before and behind a text (BOS, EOS).
  virtual std::vector<int64_t> encode_framed(std::string_view text) const { return encode(text); }
  /// The ids of `encode`, handed on in order and in parts, so that those of a long text need not
  /// stand in memory at once. Up to `threads` threads encode; the ids do not depend on it, and
  /// `take` is called on this thread.
  using TakeIds = std::function<void(std::span<const int64_t> ids)>;
  virtual void encode_in_parts(std::string_view text, int64_t /*threads*/,
                               const TakeIds& take) const {
    take(encode(text));
  }
  /// Bytes, which may end inside a UTF-8 character (see Utf8Stream). Throws Error for an id out of
  /// range.
  virtual std::string decode(std::span<const int64_t> tokens) const = 0;
  /// As decode, but special tokens (end of text, padding) leave nothing.
  virtual std::string decode_plain(std::span<const int64_t> tokens) const { return decode(tokens); }
  /// Decodes tokens that follow `before`: where a decoder looks at neighbours (a space that only
  /// the front of a text loses), these count.
  virtual std::unique_ptr<TokenStream> stream(std::span<const int64_t> before) const;
  /// The tokenizer for text of strangers: what reads like a special token (<|endoftext|>) is
  /// encoded as the text that it is, so that no text gives the id of one. Everything else is the
  /// same. Throws Error when some byte has no other token.
  virtual std::shared_ptr<const Tokenizer> without_special() const = 0;
  /// The token that stands behind a document, if the tokenizer has one.
  virtual std::optional<int64_t> end_of_text() const { return std::nullopt; }
  /// The tokenizer.json that makes this tokenizer again, the same text each time; "" for one that
  /// its name alone makes.
  virtual std::string tokenizer_json() const { return ""; }
  /// The files by which other programs read this tokenizer, by name; none for one that its name
  /// alone makes.
  virtual std::map<std::string, std::string> published_files() const;
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
  std::shared_ptr<const Tokenizer> without_special() const override;
  bool is_bytes() const override { return true; }
};

/// The name of the file that goes with a model.
inline constexpr const char* kTokenizerFile = "tokenizer.json";

/// The tokenizer of a tokenizer.json (docs/tokenizers.md says what of it is read), of a
/// SentencePiece model (a name that ends in ".model") or of a tiktoken vocabulary (one that ends in
/// ".tiktoken", or in ".model" where the content is one). A tokenizer_config.json in the same
/// folder says what ends a text, what a SentencePiece model puts around it, and whose tiktoken
/// vocabulary it is. Throws Error for a file that is too large or not what this library reads.
std::shared_ptr<const Tokenizer> read_tokenizer(const std::filesystem::path& path);

/// "byte", or the path of a tokenizer.json, tokenizer.model or .tiktoken (any name that ends so).
/// Throws ConfigError for another kind and for a path without a file, Error for a file that is no
/// tokenizer this library reads.
std::shared_ptr<const Tokenizer> make_tokenizer(const std::string& kind);

/// The text that a token stands for inside a text: with the space before a word that a decoder
/// leaves out at the front.
std::string token_text(const Tokenizer& tokenizer, int64_t token);

}  // namespace moe::data
