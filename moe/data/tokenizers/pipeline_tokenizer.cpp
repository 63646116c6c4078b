#include <moe/base/error.h>
#include <moe/base/utf8.h>
#include <moe/data/tokenizers/pipeline_tokenizer.h>
#include <moe/data/tokenizers/text_work.h>
#include <moe/data/tokenizers/tiktoken.h>
#include <moe/data/tokenizers/tokenizer_json.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data {

namespace {

constexpr size_t kIdsHandedOnAtOnce = size_t{1} << 16;

AddedVocabulary added_vocabulary(const TokenizerParts& parts, bool normalized,
                                 SpecialText special) {
  std::vector<AddedToken> tokens;
  std::vector<std::string> texts;
  for (const auto& token : parts.added) {
    if (token.normalized != normalized) continue;
    if (token.special && special == SpecialText::kText) continue;
    tokens.push_back(token);
    texts.push_back(normalized && parts.normalizer ? parts.normalizer->apply(token.text)
                                                   : token.text);
  }
  return AddedVocabulary(tokens, texts);
}

std::vector<bool> special_of(const TokenizerParts& parts) {
  std::vector<bool> out(parts.vocabulary, false);
  for (const auto& token : parts.added) out[token.id] = token.special;
  return out;
}

}  // namespace

std::shared_ptr<const TokenModel> TokenizerParts::model_without(
    const std::vector<bool>& forbidden) const {
  const nlohmann::json document = parse_tokenizer_document(json, name);
  const std::string source = concat('\'', name, '\'');
  const TokenizerJson in(source);
  return read_token_model({in, document["model"], tokens, byte_level, forbidden});
}

PipelineTokenizer::PipelineTokenizer(std::shared_ptr<const TokenizerParts> parts,
                                     SpecialText special)
    : parts_(std::move(parts)),
      cache_owner_(next_cache_owner()),
      first_(added_vocabulary(*parts_, false, special)),
      second_(added_vocabulary(*parts_, true, special)),
      special_(special_of(*parts_)) {
  // What the normalizer spells otherwise is no special token to the decoder of `tokenizers`.
  hidden_ = special_;
  for (const auto& token : parts_->added)
    if (parts_->added_texts.at(token.id) != token.text) hidden_[token.id] = false;
  model_ = special == SpecialText::kToken ? parts_->model : parts_->model_without(special_);
}

void PipelineTokenizer::encode_part(std::string_view part, bool begins,
                                    FunctionRef<void(uint32_t)> take) const {
  WordCache& cache = word_cache_of_thread();
  std::vector<uint32_t> made;
  const auto encode_word = [&](std::string_view word) {
    const auto known = cache.find(cache_owner_, word);
    if (!known.empty()) {
      for (const uint32_t id : known) take(id);
      return;
    }
    made.clear();
    model_->encode(word, made);
    cache.store(cache_owner_, word, made);
    for (const uint32_t id : made) take(id);
  };
  const auto encode_words = [&](std::string_view text, bool) {
    while (!text.empty()) {
      const size_t length = model_->cut(text);
      encode_word(text.substr(0, length));
      text.remove_prefix(length);
    }
  };
  std::string normal;
  if (parts_->normalizer) part = normal = parts_->normalizer->apply(part);
  if (second_.empty()) return parts_->words.split(part, begins, encode_words);
  second_.divide(part, begins, [&](std::string_view text, std::optional<uint32_t> id, bool front) {
    id ? take(*id) : parts_->words.split(text, front, encode_words);
  });
}

void PipelineTokenizer::encode_in_parts(std::string_view text, int64_t /*threads*/,
                                        const TakeIds& take) const {
  const TextWork work(text.size());
  std::string valid;
  if (!is_utf8(text)) text = valid = to_valid_utf8(text);
  std::vector<int64_t> ids;
  const auto add = [&](uint32_t id) {
    ids.push_back(id);
    if (ids.size() < kIdsHandedOnAtOnce) return;
    take(ids);
    ids.clear();
  };
  first_.divide(text, true, [&](std::string_view part, std::optional<uint32_t> id, bool begins) {
    id ? add(*id) : encode_part(part, begins, add);
  });
  if (!ids.empty()) take(ids);
}

std::vector<int64_t> PipelineTokenizer::encode(std::string_view text) const {
  std::vector<int64_t> out;
  encode_in_parts(text, 1, [&](std::span<const int64_t> ids) {
    out.insert(out.end(), ids.begin(), ids.end());
  });
  return out;
}

std::vector<int64_t> PipelineTokenizer::encode_framed(std::string_view text) const {
  const auto& [before, behind] = parts_->frame;
  std::vector<int64_t> out(before.begin(), before.end());
  encode_in_parts(text, 1, [&](std::span<const int64_t> ids) {
    out.insert(out.end(), ids.begin(), ids.end());
  });
  out.insert(out.end(), behind.begin(), behind.end());
  return out;
}

std::string PipelineTokenizer::decode(std::span<const int64_t> tokens) const {
  return decode(tokens, true);
}

std::string PipelineTokenizer::decode_plain(std::span<const int64_t> tokens) const {
  return decode(tokens, false);
}

std::string PipelineTokenizer::decode(std::span<const int64_t> tokens, bool with_special) const {
  std::vector<std::string> texts;
  texts.reserve(tokens.size());
  for (const int64_t token : tokens) {
    check(token >= 0 && token < vocabulary(), "data/tokenizer", "expected tokens in [0, ",
          vocabulary(), ") for the tokenizer '", name(), "', got ", token,
          ". Use the tokenizer of the model.");
    const auto id = static_cast<size_t>(token);
    if (hidden_[id] && !with_special) continue;
    const auto added = parts_->added_texts.find(id);
    if (added != parts_->added_texts.end())
      texts.push_back(added->second);
    else if (id < parts_->tokens.size() && parts_->tokens.has(id))
      texts.push_back(parts_->tokens.text(id));
  }
  std::string out;
  const Decoders& decoders = parts_->decoders;
  if (decoders.byte_level) {
    for (const auto& text : texts) out += bytes_of_letters(text);
    return out;
  }
  size_t bytes = 0;
  for (const auto& text : texts) bytes += text.size();
  const TextWork work(bytes);
  for (const auto& step : decoders.steps) step->apply(texts);
  for (size_t i = 0; i < texts.size(); ++i) {
    if (i > 0 && decoders.none) out += ' ';
    out += texts[i];
  }
  return out;
}

std::unique_ptr<TokenStream> PipelineTokenizer::stream(std::span<const int64_t> before) const {
  if (parts_->decoders.byte_level) return Tokenizer::stream(before);
  return std::make_unique<WindowStream>(*this, before);
}

std::map<std::string, std::string> PipelineTokenizer::published_files() const {
  const nlohmann::json document = parse_tokenizer_document(parts_->json, name());
  if (TokenizerJson::find(document["model"], "type") != "tiktoken")
    return Tokenizer::published_files();
  return {{kTokenizerFile, published_tiktoken(document)}};
}

std::shared_ptr<const Tokenizer> PipelineTokenizer::without_special() const {
  std::call_once(without_special_made_, [&] {
    without_special_ = std::make_shared<PipelineTokenizer>(parts_, SpecialText::kText);
  });
  return without_special_;
}

}  // namespace moe::data
