// WordPiece and WordLevel of tokenizer.json.

#include <moe/data/tokenizers/byte_trie.h>
#include <moe/data/tokenizers/token_model.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data {

namespace {

/// The tokens that text may become and that begin with `prefix`, without it.
ByteTrie trie_of(const TokenModelSource& source, std::string_view prefix) {
  std::vector<std::pair<std::string_view, uint32_t>> words;
  for (size_t id = 0; id < source.tokens.size(); ++id) {
    const bool no = id < source.forbidden.size() && source.forbidden[id];
    std::string_view text = source.tokens.text(id);
    if (!source.tokens.has(id) || no || !text.starts_with(prefix)) continue;
    text.remove_prefix(prefix.size());
    words.emplace_back(text, static_cast<uint32_t>(id));
  }
  return ByteTrie(std::move(words));
}

uint32_t unknown_token(const TokenModelSource& source) {
  const std::string& text = source.in.string_at(source.settings, "model.", "unk_token");
  const uint32_t id = source.tokens.id(text);
  if (id == TokenTexts::kNone)
    source.in.refuse("model.unk_token", "a token of the vocabulary", formats::in_quotes(text));
  return id;
}

/// The longest token that the rest of a word begins with, again and again (Wu et al. 2016); tokens
/// that do not begin a word carry a prefix.
class WordPieceModel final : public TokenModel {
 public:
  WordPieceModel(const TokenModelSource& source, std::string_view prefix, size_t longest)
      : begin_(trie_of(source, "")),
        inside_(trie_of(source, prefix)),
        unk_(unknown_token(source)),
        longest_(longest) {}

  void encode(std::string_view word, std::vector<uint32_t>& ids) const override {
    const size_t before = ids.size();
    size_t characters = 0;
    for (const char c : word) characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    bool fits = characters <= longest_;
    for (bool first = true; fits && !word.empty(); first = false) {
      const auto found = (first ? begin_ : inside_).longest(word);
      fits = found.length > 0;
      if (!fits) break;
      ids.push_back(found.value);
      word.remove_prefix(found.length);
    }
    if (fits) return;
    ids.resize(before);
    ids.push_back(unk_);
  }

 private:
  ByteTrie begin_, inside_;
  uint32_t unk_;
  size_t longest_;
};

class WordLevelModel final : public TokenModel {
 public:
  explicit WordLevelModel(const TokenModelSource& source)
      : words_(trie_of(source, "")), unk_(unknown_token(source)) {}

  void encode(std::string_view word, std::vector<uint32_t>& ids) const override {
    const auto found = words_.longest(word);
    ids.push_back(found.length == word.size() ? found.value : unk_);
  }

 private:
  ByteTrie words_;
  uint32_t unk_;
};

}  // namespace

std::unique_ptr<TokenModel> read_word_piece(const TokenModelSource& source) {
  const TokenizerJson& in = source.in;
  in.check_keys(
      source.settings, "model",
      {"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"});
  const std::string prefix =
      source.settings.contains("continuing_subword_prefix")
          ? in.string_at(source.settings, "model.", "continuing_subword_prefix")
          : "##";
  const int64_t longest = source.settings.contains("max_input_chars_per_word")
                              ? in.integer_at(source.settings, "model.", "max_input_chars_per_word")
                              : 100;
  return std::make_unique<WordPieceModel>(source, prefix, static_cast<size_t>(longest));
}

std::unique_ptr<TokenModel> read_word_level(const TokenModelSource& source) {
  source.in.check_keys(source.settings, "model", {"type", "unk_token", "vocab"});
  return std::make_unique<WordLevelModel>(source);
}

}  // namespace moe::data
