#include <array>
#include <cstdio>

#include <moe/data/tokenizers/token_model.h>

namespace moe::data {

namespace {

using nlohmann::json;

constexpr size_t kLongestToken = 8192;

/// Ids may leave holes, but not so many that a small file makes a large table.
size_t largest_id(size_t tokens) {
  return 4 * tokens + (size_t{1} << 20);
}

}  // namespace

bool TokenTexts::add(uint32_t id, std::string text) {
  if (id >= texts_.size()) {
    texts_.resize(id + size_t{1});
    known_.resize(id + size_t{1}, false);
  }
  if (known_[id]) return texts_[id] == text;
  texts_[id] = std::move(text);
  known_[id] = true;
  return true;
}

void TokenTexts::index() {
  ids_.clear();
  ids_.reserve(texts_.size());
  for (size_t id = 0; id < texts_.size(); ++id)
    if (known_[id]) ids_.emplace(texts_[id], static_cast<uint32_t>(id));
}

std::string token_model_type(const TokenizerJson& in, const json& settings) {
  if (!settings.is_object()) in.refuse("model", "an object", TokenizerJson::describe(settings));
  if (settings.contains("type")) return in.string_at(settings, "model.", "type");
  if (settings.contains("merges")) return "BPE";
  if (settings.contains("unk_id")) return "Unigram";
  return settings.contains("continuing_subword_prefix") ? "WordPiece" : "WordLevel";
}

TokenTexts read_token_texts(const TokenizerJson& in, const json& settings) {
  const json& vocab = in.at(settings, "model.", "vocab");
  TokenTexts out(vocab.size());
  const auto add = [&](const auto& key, uint64_t id, const std::string& text) {
    const auto where = [&] { return concat("model.vocab[", key, ']'); };
    if (text.size() > kLongestToken)
      in.refuse(where(), concat("tokens of at most ", kLongestToken, " bytes"),
                concat(text.size(), " bytes"));
    if (id >= largest_id(vocab.size()))
      in.refuse(where(),
                concat("ids below ", largest_id(vocab.size()), " for ", vocab.size(), " tokens"),
                std::to_string(id), " Number the tokens without such holes.");
    if (!out.add(static_cast<uint32_t>(id), text))
      in.refuse(where(), "every id once", concat(id, " twice"));
  };
  if (vocab.is_array()) {
    for (size_t i = 0; i < vocab.size(); ++i) {
      const bool fits = vocab[i].is_array() && vocab[i].size() == 2 && vocab[i][0].is_string() &&
                        vocab[i][1].is_number();
      if (!fits)
        in.refuse(concat("model.vocab[", i, ']'), "a token with its score, as [\"a\", -1.5]",
                  TokenizerJson::describe(vocab[i]));
      add(i, i, vocab[i][0].get_ref<const std::string&>());
    }
  } else {
    if (!vocab.is_object())
      in.refuse("model.vocab", "an object or an array", TokenizerJson::describe(vocab));
    for (const auto& item : vocab.items()) {
      if (!item.value().is_number_unsigned())
        in.refuse(concat("model.vocab[", formats::in_quotes(item.key()), ']'), "an id",
                  TokenizerJson::describe(item.value()));
      add(item.key(), item.value().get<uint64_t>(), item.key());
    }
  }
  return out;
}

std::vector<uint32_t> byte_token_ids(const TokenTexts& tokens, const std::vector<bool>& forbidden) {
  std::vector<uint32_t> out(256, TokenTexts::kNone);
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::array<char, 8> text = {};
    std::snprintf(text.data(), text.size(), "<0x%02X>", byte);
    const uint32_t id = tokens.id(text.data());
    if (id != TokenTexts::kNone && (id >= forbidden.size() || !forbidden[id])) out[byte] = id;
  }
  return out;
}

std::unique_ptr<TokenModel> read_token_model(const TokenModelSource& source) {
  const std::string type = token_model_type(source.in, source.settings);
  if (type == "BPE") return read_bpe_pieces(source);
  if (type == "Unigram") return read_unigram(source);
  if (type == "WordPiece") return read_word_piece(source);
  if (type == "WordLevel") return read_word_level(source);
  if (type == "tiktoken") return read_ranked_bytes(source);
  source.in.refuse("model.type", "BPE, Unigram, WordPiece or WordLevel", formats::in_quotes(type),
                   concat(" This version does not know it.",
                          did_you_mean(type, {"BPE", "Unigram", "WordPiece", "WordLevel"})));
}

}  // namespace moe::data
