#pragma once
// One call of encode: on this thread, or divided among several.

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/bpe/word_cache.h>

namespace moe::data {

/// A stretch of text as the added tokens divide it, or a part of one that ends between words.
struct BpePiece {
  std::string_view text;
  /// An added token.
  std::optional<uint32_t> id = {};
  /// False behind a cut: what a model puts before text is not put there.
  bool begins = true;
};

/// Turns pieces into ids. One thread each; the cache is the caller's.
class BpeEncoder {
 public:
  BpeEncoder(const BpeTokenizer& tokenizer, WordCache& cache, const Tokenizer::TakeIds& take)
      : tokenizer_(tokenizer), cache_(cache), take_(take) {}

  void encode(const BpePiece& piece);
  /// Hands on what has not been.
  void finish();

 private:
  void encode_words(std::string_view text);
  void encode_word(std::string_view word);
  void append(std::span<const uint32_t> ids);

  const BpeTokenizer& tokenizer_;
  WordCache& cache_;
  const Tokenizer::TakeIds& take_;
  std::vector<uint32_t> word_;
  std::vector<int64_t> ids_;
};

/// The ids of `text` in order, encoded by up to `threads` threads: those of one thread, as text is
/// cut at added tokens and where the words on both sides stay what they are (gpt2_word_border).
/// `take` is called on this thread. A thread's turn is at least `chunk_bytes` of text (long against
/// the making of a task, short against a file); the ids of some 16 turns a thread are held at once.
void encode_in_parallel(const BpeTokenizer& tokenizer, std::string_view text, int64_t threads,
                        const Tokenizer::TakeIds& take, size_t chunk_bytes = size_t{1} << 18);

}  // namespace moe::data
