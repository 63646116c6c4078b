#include <moe/data/tokenizers/tokenizer_json.h>
#include <moe/data/tokenizers/tokenizer_settings.h>

namespace moe::data {

namespace {

constexpr uint32_t kLargestAddedId = 1u << 24;

/// {"128000": {"content": "<s>", "special": true, …}, …}
std::vector<AddedToken> added_tokens(const nlohmann::json& document) {
  std::vector<AddedToken> out;
  const auto& list = TokenizerJson::find(document, "added_tokens_decoder");
  if (!list.is_object()) return out;
  for (const auto& item : list.items()) {
    AddedToken token;
    const bool number = !item.key().empty() && item.key().size() <= 9 &&
                        item.key().find_first_not_of("0123456789") == std::string::npos;
    const auto& text = TokenizerJson::find(item.value(), "content");
    if (!number || !text.is_string() || text.get_ref<const std::string&>().empty()) continue;
    const auto is = [&](const char* key) { return TokenizerJson::find(item.value(), key) == true; };
    token.id = static_cast<uint32_t>(std::stoul(item.key()));
    token.text = text.get<std::string>();
    token.special = is("special");
    token.single_word = is("single_word");
    token.lstrip = is("lstrip");
    token.rstrip = is("rstrip");
    if (token.id < kLargestAddedId) out.push_back(std::move(token));
  }
  return out;
}

/// A token as text, or as an object with "content".
std::string token_text(const nlohmann::json& document, const char* key) {
  const auto& value = TokenizerJson::find(document, key);
  const auto& text = value.is_object() ? TokenizerJson::find(value, "content") : value;
  return text.is_string() ? text.get<std::string>() : std::string();
}

std::optional<bool> flag(const nlohmann::json& document, const char* key) {
  const auto& value = TokenizerJson::find(document, key);
  return value.is_boolean() ? std::optional(value.get<bool>()) : std::nullopt;
}

}  // namespace

std::optional<int64_t> TokenizerSettings::find_end_of_text(
    std::span<const AddedToken> added) const {
  for (const auto& token : added)
    if (!end_of_text.empty() && token.text == end_of_text) return token.id;
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"})
    for (const auto& token : added)
      if (token.special && token.text == name) return token.id;
  return std::nullopt;
}

TokenizerSettings settings_of(const nlohmann::json& document) {
  TokenizerSettings out;
  out.begin_of_text = token_text(document, "bos_token");
  out.end_of_text = token_text(document, "eos_token");
  out.unknown = token_text(document, "unk_token");
  out.padding = token_text(document, "pad_token");
  out.adds_begin = flag(document, "add_bos_token");
  out.adds_end = flag(document, "add_eos_token");
  out.tokenizer_class = token_text(document, "tokenizer_class");
  const auto& extra = TokenizerJson::find(document, "extra_ids");
  if (extra.is_number_integer() && extra >= 0 && extra <= 10000)
    out.extra_ids = extra.get<int64_t>();
  out.added = added_tokens(document);
  return out;
}

nlohmann::json json_of_settings(const TokenizerSettings& settings) {
  nlohmann::json out = {{"tokenizer_class", settings.tokenizer_class}};
  const std::pair<const char*, const std::string*> texts[] = {
      {"bos_token", &settings.begin_of_text},
      {"eos_token", &settings.end_of_text},
      {"unk_token", &settings.unknown},
      {"pad_token", &settings.padding}};
  for (const auto& [key, text] : texts)
    if (!text->empty()) out[key] = *text;
  if (settings.adds_begin) out["add_bos_token"] = *settings.adds_begin;
  if (settings.adds_end) out["add_eos_token"] = *settings.adds_end;
  if (settings.extra_ids) out["extra_ids"] = *settings.extra_ids;
  for (const auto& token : settings.added)
    out["added_tokens_decoder"][std::to_string(token.id)] = {{"content", token.text},
                                                             {"special", token.special},
                                                             {"single_word", token.single_word},
                                                             {"lstrip", token.lstrip},
                                                             {"rstrip", token.rstrip}};
  return out;
}

TokenizerSettings read_tokenizer_settings(const Path& folder) {
  const Path path = folder / "tokenizer_config.json";
  if (!real_files().exists(path)) return {};
  return settings_of(parse_tokenizer_document(read_file(real_files(), path, kLargestTokenizerJson),
                                              path.string()));
}

}  // namespace moe::data
