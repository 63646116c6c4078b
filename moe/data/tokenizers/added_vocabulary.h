#pragma once
// Finding added tokens in text, with all that tokenizer.json may say of them.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <moe/data/bpe/bpe_model.h>
#include <moe/data/tokenizers/byte_trie.h>
#include <moe/data/tokenizers/function_ref.h>

namespace moe::data {

/// A set of added tokens that are looked for together: at every place the longest, left to right,
/// what was found is over. Immutable and thread-safe.
class AddedVocabulary {
 public:
  /// Looks for `texts[i]` where it finds `tokens[i]`.
  AddedVocabulary(std::span<const AddedToken> tokens, std::span<const std::string> texts);

  /// Receives what stands between tokens without an id, a token with its id; `begins`: at the very
  /// front of the text.
  using Take = FunctionRef<void(std::string_view part, std::optional<uint32_t> id, bool begins)>;
  /// Divides `text` (UTF-8); parts are in order and not empty.
  void divide(std::string_view text, bool begins, Take take) const;
  bool empty() const { return trie_.empty(); }

 private:
  std::vector<AddedToken> tokens_;
  ByteTrie trie_;  // to places in tokens_
};

}  // namespace moe::data
