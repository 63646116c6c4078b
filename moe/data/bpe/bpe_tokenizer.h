#pragma once

#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include <moe/base/files.h>
#include <moe/data/bpe/added_tokens.h>
#include <moe/data/bpe/bpe_model.h>
#include <moe/data/bpe/merge_table.h>
#include <moe/data/tokenizer.h>

namespace moe::data {

/// What text becomes that reads like a special token.
enum class SpecialText { kToken, kText };

/// Byte-level BPE as GPT-2 has it: added tokens are found first, the rest is divided into words,
/// and the bytes of a word are merged by rank. The ids are those of the Python package `tokenizers`
/// for the same tokenizer.json and text. Text need not be UTF-8: bytes that are none stay what they
/// are and come back from `decode` (`tokenizers` takes strings only, where they must have been
/// replaced before). decode(encode(text)) is the text, with a space before it when the model says
/// add_prefix_space.
class BpeTokenizer final : public Tokenizer {
 public:
  /// `name` is what messages call it. Throws Error for a model that does not validate. With kText
  /// no text gives the id of a special token: they are not looked for, and no merge makes one;
  /// added tokens that are not special are found all the same. Throws Error then when a byte has no
  /// other token.
  BpeTokenizer(BpeModel model, std::string name, SpecialText special_text = SpecialText::kToken);
  BpeTokenizer(const BpeTokenizer&) = delete;
  BpeTokenizer& operator=(const BpeTokenizer&) = delete;

  std::string name() const override { return name_; }
  int64_t vocabulary() const override { return static_cast<int64_t>(model_.tokens.size()); }
  std::vector<int64_t> encode(std::string_view text) const override;
  void encode_in_parts(std::string_view text, int64_t threads, const TakeIds& take) const override;
  std::string decode(std::span<const int64_t> tokens) const override;
  std::string decode_plain(std::span<const int64_t> tokens) const override;
  /// Made by the first call, which takes as long as making this one.
  std::shared_ptr<const Tokenizer> without_special() const override;
  std::string tokenizer_json() const override { return write_tokenizer_json(model_); }

  /// The special token <|endoftext|>, <|end_of_text|>, </s> or <eos>, the first of these it has.
  std::optional<int64_t> end_of_text() const override;

  const BpeModel& model() const { return model_; }
  /// Calls `take` with the added tokens of `text` and what stands between them, in order.
  void divide(std::string_view text, const AddedTokenFinder::Take& take) const {
    added_.divide(text, take);
  }

 private:
  std::string decode(std::span<const int64_t> tokens, bool with_special) const;
  void check_bytes_are_not_special() const;

  BpeModel model_;
  std::string name_;
  uint32_t serial_;  // tells the words of one tokenizer from those of another in a cache
  std::vector<uint32_t> byte_ids_;
  std::vector<bool> special_;
  MergeTable merges_;
  AddedTokenFinder added_;
  /// Tokens by their bytes; empty unless the model ignores merges.
  std::unordered_map<std::string_view, uint32_t> whole_words_;
  mutable std::once_flag without_special_made_;
  mutable std::shared_ptr<const Tokenizer> without_special_;

  friend class BpeEncoder;
};

/// Reads a tokenizer.json. Throws Error for one that is too large or not what this library reads.
std::shared_ptr<const BpeTokenizer> read_bpe_tokenizer(const Path& path);

}  // namespace moe::data
