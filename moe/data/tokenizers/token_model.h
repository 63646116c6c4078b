#pragma once
// The model of a tokenizer: a word to the tokens that make it up.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <moe/data/tokenizers/tokenizer_json.h>

namespace moe::data {

/// Tokens by id and by text. Ids may leave holes (an empty text that is not known).
class TokenTexts {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  /// Room for ids below `count`.
  explicit TokenTexts(size_t count = 0) : texts_(count), known_(count, false) {}
  TokenTexts(const TokenTexts&) = delete;
  TokenTexts& operator=(const TokenTexts&) = delete;
  TokenTexts(TokenTexts&&) = default;
  TokenTexts& operator=(TokenTexts&&) = default;

  /// The id becomes a token; an id may be beyond the room there is. False when the id or the text
  /// is there already as something else.
  bool add(uint32_t id, std::string text);
  /// Ends adding.
  void index();

  uint32_t id(std::string_view text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? kNone : found->second;
  }
  size_t size() const { return texts_.size(); }
  bool has(size_t id) const { return known_[id]; }
  const std::string& text(size_t id) const { return texts_[id]; }

 private:
  std::vector<std::string> texts_;
  std::vector<bool> known_;
  std::unordered_map<std::string_view, uint32_t> ids_;  // views of texts_
};

/// Immutable and thread-safe.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  /// Appends the ids of a word, which is not empty: UTF-8, or bytes where the tokenizer is
  /// byte-level.
  virtual void encode(std::string_view word, std::vector<uint32_t>& ids) const = 0;
  /// Whether a word's ids depend on the word alone and are worth remembering.
  virtual bool remembers() const { return true; }
  /// Where text can be cut in two words without changing its ids: the length of the first, the
  /// whole when there is no such place.
  virtual size_t cut(std::string_view text) const { return text.size(); }
};

/// What a model is made from.
struct TokenModelSource {
  const TokenizerJson& in;
  const nlohmann::json& settings;  // the object "model"
  const TokenTexts& tokens;        // of its vocabulary, as the file spells them
  /// Words are bytes, tokens are spelled in GPT-2's letters.
  bool byte_level = false;
  /// Ids that no text may become.
  std::vector<bool> forbidden = {};
};

/// The model that `source` describes: BPE, Unigram, WordPiece, WordLevel, or this
/// library's own "tiktoken". Throws Error naming the
/// place of what it is not.
std::unique_ptr<TokenModel> read_token_model(const TokenModelSource& source);
/// One each.
std::unique_ptr<TokenModel> read_bpe_pieces(const TokenModelSource& source);
std::unique_ptr<TokenModel> read_unigram(const TokenModelSource& source);
std::unique_ptr<TokenModel> read_word_piece(const TokenModelSource& source);
std::unique_ptr<TokenModel> read_word_level(const TokenModelSource& source);
std::unique_ptr<TokenModel> read_ranked_bytes(const TokenModelSource& source);

/// The type of a model; files of early releases name none.
std::string token_model_type(const TokenizerJson& in, const nlohmann::json& settings);
/// The tokens of a model's "vocab", by text to id or as a list of [text, score].
TokenTexts read_token_texts(const TokenizerJson& in, const nlohmann::json& settings);

/// The ids of <0x00> to <0xFF>, kNone where there is no such token.
std::vector<uint32_t> byte_token_ids(const TokenTexts& tokens, const std::vector<bool>& forbidden);

}  // namespace moe::data
