#pragma once
// A tokenizer as tokenizer.json describes them in general: added tokens, a normalizer, a
// pre-tokenizer, a model, a post-processor and a decoder, one after the other.

#include <map>
#include <memory>
#include <mutex>

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/bpe/word_cache.h>
#include <moe/data/tokenizer.h>
#include <moe/data/tokenizers/added_vocabulary.h>
#include <moe/data/tokenizers/decoders.h>
#include <moe/data/tokenizers/normalizers.h>
#include <moe/data/tokenizers/post_processor.h>
#include <moe/data/tokenizers/pre_tokenizers.h>
#include <moe/data/tokenizers/token_model.h>

namespace moe::data {

/// What a PipelineTokenizer is made of.
struct TokenizerParts {
  std::string name;
  /// The file, from which the tokenizer can be made again.
  std::string json;
  TokenTexts tokens;  // of the model
  std::vector<AddedToken> added;
  std::unique_ptr<Normalizer> normalizer;  // null: none
  PreTokenizers words;
  TextFrame frame;
  Decoders decoders;
  std::optional<int64_t> end_of_text;
  /// Words are bytes.
  bool byte_level = false;
  std::shared_ptr<const TokenModel> model;

  size_t vocabulary = 0;
  std::map<size_t, std::string> added_texts;

  /// The model of the same file without the ids that no text may become.
  std::shared_ptr<const TokenModel> model_without(const std::vector<bool>& forbidden) const;
};

/// The ids are those of the crate `tokenizers` for the same file and text; text that is no UTF-8 is
/// read with U+FFFD in the place of what is ill-formed. Whether decode(encode(text)) is the text is
/// the file's to say.
class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(std::shared_ptr<const TokenizerParts> parts,
                             SpecialText special = SpecialText::kToken);

  std::string name() const override { return parts_->name; }
  int64_t vocabulary() const override { return static_cast<int64_t>(parts_->vocabulary); }
  std::vector<int64_t> encode(std::string_view text) const override;
  std::vector<int64_t> encode_framed(std::string_view text) const override;
  void encode_in_parts(std::string_view text, int64_t threads, const TakeIds& take) const override;
  std::string decode(std::span<const int64_t> tokens) const override;
  std::string decode_plain(std::span<const int64_t> tokens) const override;
  std::unique_ptr<TokenStream> stream(std::span<const int64_t> before) const override;
  std::shared_ptr<const Tokenizer> without_special() const override;
  std::optional<int64_t> end_of_text() const override { return parts_->end_of_text; }
  std::string tokenizer_json() const override { return parts_->json; }
  std::map<std::string, std::string> published_files() const override;

 private:
  std::string decode(std::span<const int64_t> tokens, bool with_special) const;
  void encode_part(std::string_view part, bool begins, FunctionRef<void(uint32_t)> take) const;

  std::shared_ptr<const TokenizerParts> parts_;
  uint32_t cache_owner_;
  std::shared_ptr<const TokenModel> model_;
  AddedVocabulary first_, second_;      // of text as it is, of normalized text
  std::vector<bool> special_, hidden_;  // hidden: left out of plain text
  mutable std::once_flag without_special_made_;
  mutable std::shared_ptr<const Tokenizer> without_special_;
};

/// Decodes a window of tokens again with each that comes, and hands on what it adds.
class WindowStream final : public TokenStream {
 public:
  WindowStream(const Tokenizer& tokenizer, std::span<const int64_t> before);
  std::string push(int64_t token) override;
  std::string flush() override;

 private:
  std::string take_on(const std::string& text);

  const Tokenizer& tokenizer_;
  std::vector<int64_t> window_;
  size_t old_ = 0;        // tokens at the front of window_ whose text has been handed on
  std::string old_text_;  // theirs
};

}  // namespace moe::data
