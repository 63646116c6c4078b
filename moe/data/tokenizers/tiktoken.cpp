#include <algorithm>
#include <filesystem>

#include <moe/data/bpe/byte_letters.h>
#include <moe/data/tokenizers/read_tokenizer.h>
#include <moe/data/tokenizers/tiktoken.h>
#include <moe/data/tokenizers/tiktoken_file.h>
#include <moe/data/tokenizers/tokenizer_json.h>

namespace moe::data {

namespace {

using nlohmann::json;

constexpr const char* kKimiPattern =
    R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr size_t kKimiSpecialTokens = 258, kQwenExtraTokens = 205;

json special_token(size_t id, const std::string& text) {
  return {{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

/// The 258 ids behind the vocabulary, with the names that the settings give them.
json kimi_tokens(size_t first, const TokenizerSettings& settings) {
  json out = json::array();
  for (size_t id = first; id < first + kKimiSpecialTokens; ++id) {
    const auto named = std::ranges::find(settings.added, id, &AddedToken::id);
    out.push_back(special_token(
        id, named != settings.added.end() ? named->text : concat("<|reserved_token_", id, "|>")));
  }
  return out;
}

json qwen_tokens(size_t first) {
  json out = json::array();
  for (const char* text : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"})
    out.push_back(special_token(first++, text));
  for (size_t i = 0; i < kQwenExtraTokens; ++i)
    out.push_back(special_token(first++, concat("<|extra_", i, "|>")));
  return out;
}

json byte_level_component(bool splits) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", splits}};
}

}  // namespace

std::shared_ptr<const Tokenizer> read_tiktoken(std::string_view bytes, const std::string& name,
                                               const TokenizerSettings& settings) {
  const std::string& kind = settings.tokenizer_class;
  const bool kimi = kind == "TikTokenTokenizer";
  const bool qwen = kind == "QWenTokenizer" ||
                    (kind.empty() && std::filesystem::path(name).filename() == "qwen.tiktoken");
  check(kimi || qwen, "data/tokenizer", "expected a tokenizer_config.json beside '", name,
        "' whose tokenizer_class is TikTokenTokenizer (Kimi) or QWenTokenizer, which say how text "
        "is divided, got ",
        kind.empty() ? "none" : formats::in_quotes(kind),
        ". Fetch the file, or the model's tokenizer.json.");
  const auto tokens = parse_tiktoken_file(bytes, concat('\'', name, '\''));
  json vocabulary = json::object();
  for (size_t rank = 0; rank < tokens.size(); ++rank)
    vocabulary[bytes_to_letters(tokens[rank])] = rank;
  json document = {
      {"version", "1.0"},
      {"added_tokens", kimi ? kimi_tokens(tokens.size(), settings) : qwen_tokens(tokens.size())},
      {"normalizer", kimi ? json() : json{{"type", "NFC"}}},
      {"pre_tokenizer",
       {{"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"},
           {"pattern", {{"Regex", kimi ? kKimiPattern : kQwenPattern}}},
           {"behavior", "Isolated"},
           {"invert", false}},
          byte_level_component(false)}}}},
      {"post_processor", json()},
      {"decoder", byte_level_component(true)},
      {"model", {{"type", "tiktoken"}}}};
  document["model"]["vocab"] = std::move(vocabulary);
  return parse_tokenizer(document.dump(), name, settings);
}

std::string published_tiktoken(const json& document) {
  struct Merge {
    uint64_t left, right;
    std::string_view first, second;
  };
  const json& vocabulary = document.at("model").at("vocab");
  std::vector<std::string> by_rank(vocabulary.size());
  for (const auto& item : vocabulary.items()) by_rank.at(item.value()) = item.key();
  json merges = json::array();
  for (const auto& token : by_rank) {
    std::vector<Merge> found;
    for (size_t at = 1; at < token.size(); ++at) {
      if ((static_cast<unsigned char>(token[at]) & 0xC0) == 0x80) continue;
      const auto left = vocabulary.find(token.substr(0, at)),
                 right = vocabulary.find(token.substr(at));
      if (left == vocabulary.end() || right == vocabulary.end()) continue;
      found.push_back({*left, *right, left.key(), right.key()});
    }
    std::ranges::sort(found, {}, [](const Merge& m) { return std::pair(m.left, m.right); });
    for (const auto& merge : found)
      merges.push_back({std::string(merge.first), std::string(merge.second)});
  }
  json out = document;
  out["model"] = {{"type", "BPE"},
                  {"dropout", json()},
                  {"unk_token", json()},
                  {"continuing_subword_prefix", json()},
                  {"end_of_word_suffix", json()},
                  {"fuse_unk", false},
                  {"byte_fallback", false},
                  {"ignore_merges", true},
                  {"vocab", vocabulary},
                  {"merges", std::move(merges)}};
  return out.dump();
}

}  // namespace moe::data
