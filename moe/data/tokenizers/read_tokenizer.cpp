// From files to tokenizers.

#include <unordered_set>

#include <moe/base/files.h>
#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/tokenizers/pipeline_tokenizer.h>
#include <moe/data/tokenizers/read_tokenizer.h>
#include <moe/data/tokenizers/sentencepiece_tokenizer.h>
#include <moe/data/tokenizers/tiktoken.h>
#include <moe/data/tokenizers/tiktoken_file.h>
#include <moe/data/tokenizers/tokenizer_settings.h>

namespace moe::data {

namespace {

using nlohmann::json;

constexpr size_t kLongestAddedText = 4096;

bool has_type(const json& component, const char* type) {
  return component.is_object() && component.contains("type") && component["type"] == type;
}

/// Whether BpeTokenizer may read the document: GPT-2's form, with nothing around a text.
bool is_plain_byte_level(const json& document) {
  const auto& last = TokenizerJson::find(document, "post_processor");
  if (!TokenizerJson::find(document, "normalizer").is_null() ||
      !has_type(TokenizerJson::find(document, "pre_tokenizer"), "ByteLevel") ||
      !has_type(TokenizerJson::find(document, "decoder"), "ByteLevel") ||
      !(last.is_null() || has_type(last, "ByteLevel")))
    return false;
  for (const char* key : {"truncation", "padding"})
    if (!TokenizerJson::find(document, key).is_null()) return false;
  const auto& added = TokenizerJson::find(document, "added_tokens");
  for (size_t i = 0; added.is_array() && i < added.size(); ++i)
    for (const char* key : {"single_word", "lstrip", "rstrip"})
      if (TokenizerJson::find(added[i], key) != false) return false;
  return true;
}

AddedToken read_added(const TokenizerJson& in, const json& object, const std::string& where) {
  in.check_keys(object, where,
                {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  const std::string dot = where + '.';
  AddedToken out;
  out.text = in.string_at(object, dot, "content");
  if (out.text.empty() || out.text.size() > kLongestAddedText)
    in.refuse(dot + "content", concat("1 to ", kLongestAddedText, " bytes of text"),
              concat(out.text.size(), " bytes"));
  out.id = static_cast<uint32_t>(std::min<int64_t>(in.integer_at(object, dot, "id"), UINT32_MAX));
  out.special = in.bool_or(object, dot, "special", false);
  out.normalized = in.bool_or(object, dot, "normalized", !out.special);
  out.single_word = in.bool_or(object, dot, "single_word", false);
  out.lstrip = in.bool_or(object, dot, "lstrip", false);
  out.rstrip = in.bool_or(object, dot, "rstrip", false);
  return out;
}

void read_added_tokens(const TokenizerJson& in, const json& document, TokenizerParts& parts) {
  const json& list = TokenizerJson::find(document, "added_tokens");
  if (!list.is_null() && !list.is_array())
    in.refuse("added_tokens", "an array", TokenizerJson::describe(list));
  parts.vocabulary = parts.tokens.size();
  std::unordered_set<std::string> texts;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = concat("added_tokens[", i, ']');
    AddedToken token = read_added(in, list[i], where);
    if (!texts.insert(token.text).second) continue;  // the first counts
    const uint32_t known = parts.tokens.id(token.text);
    const size_t most = parts.tokens.size() + 4 * list.size() + (size_t{1} << 20);
    const bool taken = token.id < parts.tokens.size() && parts.tokens.has(token.id);
    if (known != TokenTexts::kNone ? known != token.id : taken || token.id >= most)
      in.refuse(where + ".id",
                concat("the id of ", formats::in_quotes(token.text),
                       " in the vocabulary, or a new one below ", most),
                std::to_string(token.id));
    if (!parts.added_texts.emplace(token.id, token.text).second)
      in.refuse(where + ".id", "every id once", concat(token.id, " twice"));
    parts.vocabulary = std::max(parts.vocabulary, token.id + size_t{1});
    parts.added.push_back(std::move(token));
  }
}

std::shared_ptr<const Tokenizer> read_pipeline(const json& document, std::string text,
                                               const std::string& name,
                                               const TokenizerSettings& settings) {
  const std::string source = concat('\'', name, '\'');
  const TokenizerJson in(source);
  in.check_keys(document, "the top",
                {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                 "post_processor", "decoder", "model"});
  auto parts = std::make_shared<TokenizerParts>();
  parts->name = name;
  parts->json = std::move(text);
  const json& model = in.at(document, "", "model");
  const std::string type = token_model_type(in, model);
  parts->tokens = read_token_texts(in, model);
  parts->tokens.index();
  read_added_tokens(in, document, *parts);
  const auto component = [&](const char* key) -> const json& {
    return TokenizerJson::find(document, key);
  };
  parts->normalizer = read_normalizer(in, component("normalizer"), "normalizer");
  // Found in normalized text, it reads as that.
  for (const auto& token : parts->added)
    if (token.normalized && parts->normalizer)
      parts->added_texts[token.id] = parts->normalizer->apply(token.text);
  parts->words = read_pre_tokenizer(in, component("pre_tokenizer"), "pre_tokenizer");
  // Letters for bytes, and then tokens of letters, are bytes and tokens of bytes.
  parts->byte_level = parts->words.ends_in_letters && (type == "BPE" || type == "tiktoken");
  if (parts->byte_level) parts->words.steps.pop_back();
  parts->model = read_token_model({in, model, parts->tokens, parts->byte_level, {}});
  parts->frame =
      read_post_processor(in, component("post_processor"), "post_processor", parts->vocabulary);
  parts->decoders = read_decoder(in, component("decoder"), "decoder");
  parts->end_of_text = settings.find_end_of_text(parts->added);
  return std::make_shared<PipelineTokenizer>(std::move(parts));
}

}  // namespace

std::shared_ptr<const Tokenizer> parse_tokenizer(std::string text, const std::string& name,
                                                 const TokenizerSettings& settings) {
  const json document = parse_tokenizer_document(text, name);
  if (const auto made = read_wrapped_sentencepiece(document, name)) return made;
  if (is_plain_byte_level(document)) {
    try {
      auto plain = std::make_shared<BpeTokenizer>(read_bpe_model(document, name), name);
      if (settings.end_of_text.empty() ||
          plain->end_of_text() == settings.find_end_of_text(plain->model().added))
        return plain;
    } catch (const Error&) {
      // Not of our own making: what is wrong with it, if anything, is said below.
    }
  }
  return read_pipeline(document, std::move(text), name, settings);
}

std::shared_ptr<const Tokenizer> read_tokenizer(const std::filesystem::path& path) {
  const TokenizerSettings settings = read_tokenizer_settings(path.parent_path());
  const std::string name = path.filename().string();
  std::string content = read_file(real_files(), path, kLargestTokenizerJson);
  if (name.ends_with(".tiktoken") || (name.ends_with(".model") && is_tiktoken_file(content)))
    return read_tiktoken(content, path.string(), settings);
  if (name.ends_with(".model")) return read_sentencepiece(content, path.string(), settings);
  return parse_tokenizer(std::move(content), path.string(), settings);
}

}  // namespace moe::data
