#pragma once
// A read-only run of tokens: the bytes of a mapped file as they lie, or ids in memory, and
// optionally which of them are trained on and where documents begin.

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <moe/data/tokenizer.h>

namespace moe::data {

/// Cheap to copy (shares what it shows); thread-safe.
class Tokens {
 public:
  Tokens() = default;
  /// Token = byte. `owner` keeps `bytes` alive. `starts`: see starts().
  Tokens(std::shared_ptr<const void> owner, std::string_view bytes,
         std::vector<int64_t> starts = {});
  /// Ids in memory. `trained` is empty (all count) or has one entry an id: 0 for a token that is no
  /// target.
  explicit Tokens(std::vector<int32_t> ids, std::vector<uint8_t> trained = {},
                  std::vector<int64_t> starts = {});

  /// Ids that lie in a mapped file, with marks and starts as above or none; `owner` keeps all
  /// alive.
  Tokens(std::shared_ptr<const void> owner, std::span<const uint16_t> ids,
         std::span<const uint8_t> trained, std::span<const int64_t> starts);
  Tokens(std::shared_ptr<const void> owner, std::span<const int32_t> ids,
         std::span<const uint8_t> trained, std::span<const int64_t> starts);

  /// Tokens [begin, end); a document that is cut goes on as one of its own.
  Tokens part(int64_t begin, int64_t end) const;
  /// The same tokens as one stream.
  Tokens without_documents() const;

  int64_t size() const {
    return static_cast<int64_t>(bytes_.size() + short_ids_.size() + ids_.size());
  }
  bool empty() const { return size() == 0; }
  bool is_masked() const { return !trained_.empty(); }
  int64_t operator[](int64_t i) const;
  /// True when token i may be a target.
  bool is_trained(int64_t i) const {
    return trained_.empty() || trained_[static_cast<size_t>(i)] != 0;
  }
  /// The first token of every document that stands apart from the others, ascending from 0; empty
  /// when the tokens are one stream.
  std::span<const int64_t> starts() const { return starts_; }
  bool has_documents() const { return !starts_.empty(); }
  /// The first token of the document that token i is of; 0 for a stream.
  int64_t document_begin(int64_t i) const;
  /// Copies tokens [begin, begin + out.size()). Throws Error when they reach beyond the end.
  void copy(int64_t begin, std::span<int64_t> out) const;

 private:
  friend class TokensBuilder;
  struct Storage {
    std::vector<uint16_t> short_ids;
    std::vector<int32_t> ids;
    std::vector<uint8_t> trained;
    std::vector<int64_t> starts;
  };
  explicit Tokens(Storage storage);
  void check_starts() const;

  /// One of bytes_, short_ids_ and ids_ has all tokens, the others none.
  std::shared_ptr<const void> owner_;
  std::string_view bytes_;
  std::span<const uint16_t> short_ids_;
  std::span<const int32_t> ids_;
  std::span<const uint8_t> trained_;
  std::span<const int64_t> starts_;
};

/// Collects ids, in two bytes each when the vocabulary allows it and in four otherwise.
class TokensBuilder {
 public:
  /// Ids will lie in [0, vocabulary).
  explicit TokensBuilder(int64_t vocabulary) : is_short_(vocabulary <= int64_t{1} << 16) {}

  /// What is appended from here on is another document.
  void begin_document();
  void append(std::span<const int64_t> ids);
  /// As above; `trained` says whether these may be targets. Call one of the two throughout.
  void append(std::span<const int64_t> ids, bool trained);
  Tokens finish() &&;

 private:
  bool is_short_;
  Tokens::Storage storage_;
};

/// `parts` one behind another, with their marks (where one has any) and documents (where all have).
/// Ids lie in [0, vocabulary).
Tokens joined(std::span<const Tokens> parts, int64_t vocabulary);

/// The tokens of `text`, which `owner` keeps alive: the bytes themselves when they are the tokens,
/// else encoded by up to `threads` threads.
Tokens tokens_of_text(std::shared_ptr<const void> owner, std::string_view text,
                      const Tokenizer& tokenizer, int64_t threads = 1);

}  // namespace moe::data
