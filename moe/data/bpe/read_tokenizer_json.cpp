// tokenizer.json to BpeModel. The file is hostile until checked: nothing is allocated that is not
// in proportion to its size.

#include <unordered_set>

#include <moe/base/error.h>
#include <moe/data/bpe/bpe_model.h>
#include <moe/data/bpe/byte_letters.h>
#include <moe/data/tokenizers/tokenizer_json.h>
#include <moe/formats/strict_json.h>

namespace moe::data {

namespace {

using formats::in_quotes;
using nlohmann::json;

constexpr size_t kLongestAddedToken = 1024;
constexpr const char* kUnsupported =
    " This version reads byte-level BPE only (model BPE, pre_tokenizer and decoder ByteLevel).";

/// Checks that `object` is a ByteLevel component.
void check_byte_level(const TokenizerJson& in, const json& object, const std::string& where) {
  const bool fits = object.is_object() && object.contains("type") && object["type"] == "ByteLevel";
  if (!fits)
    in.refuse(where, "the type 'ByteLevel'", TokenizerJson::describe(object), kUnsupported);
  in.check_keys(object, where, {"type", "add_prefix_space", "trim_offsets", "use_regex"},
                kUnsupported);
}

/// Everything but tokens and merges.
void read_components(const TokenizerJson& in, const json& document, BpeModel& model) {
  in.check_keys(document, "the top",
                {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                 "post_processor", "decoder", "model"},
                kUnsupported);
  const json& version = TokenizerJson::find(document, "version");
  if (!version.is_null() && version != "1.0")
    in.refuse("version", "'1.0'", TokenizerJson::describe(version),
              " Save it with a release of tokenizers that writes 1.0.");
  for (const char* key : {"truncation", "padding", "normalizer"}) {
    const json& value = TokenizerJson::find(document, key);
    if (!value.is_null())
      in.refuse(key, "null", TokenizerJson::describe(value),
                " This version has none; save the tokenizer without it.");
  }
  const json& splitter = in.at(document, "", "pre_tokenizer");
  check_byte_level(in, splitter, "pre_tokenizer");
  model.add_prefix_space = in.bool_at(splitter, "pre_tokenizer.", "add_prefix_space");
  model.use_regex = in.bool_or(splitter, "pre_tokenizer.", "use_regex", true);
  // A ByteLevel post-processor moves offsets only, which nobody here sees.
  const json& last = TokenizerJson::find(document, "post_processor");
  if (!last.is_null()) check_byte_level(in, last, "post_processor");
  check_byte_level(in, in.at(document, "", "decoder"), "decoder");
}

/// The settings of the model. With a token for every byte nothing is unknown, so unk_token,
/// fuse_unk and byte_fallback change nothing and may be anything.
const json& read_model_settings(const TokenizerJson& in, const json& document, BpeModel& model) {
  const json& settings = in.at(document, "", "model");
  // Files of early releases name no type; vocab and merges together are BPE there.
  if (!settings.is_object() || (settings.contains("type") && settings["type"] != "BPE"))
    in.refuse("model", "the type 'BPE'", TokenizerJson::describe(settings), kUnsupported);
  in.check_keys(settings, "model",
                {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                 "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"},
                kUnsupported);
  const json& dropout = TokenizerJson::find(settings, "dropout");
  if (!dropout.is_null() && dropout != 0)
    in.refuse("model.dropout", "null or 0", TokenizerJson::describe(dropout),
              " Merges are never dropped here; set it to null.");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json& value = TokenizerJson::find(settings, key);
    if (!value.is_null() && value != "")
      in.refuse(concat("model.", key), "null or an empty string", TokenizerJson::describe(value),
                kUnsupported);
  }
  model.ignore_merges = in.bool_or(settings, "model.", "ignore_merges", false);
  if (!in.at(settings, "model.", "vocab").is_object())
    in.refuse("model.vocab", "an object", TokenizerJson::describe(settings["vocab"]));
  return settings;
}

uint32_t read_id(const TokenizerJson& in, const json& value, const std::string& where,
                 size_t count) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= count)
    in.refuse(where, concat("an id in [0, ", count, "), the number of tokens"),
              TokenizerJson::describe(value), " Ids must leave no hole; number the tokens anew.");
  return static_cast<uint32_t>(value.get<uint64_t>());
}

AddedToken read_added_token(const TokenizerJson& in, const json& object, const std::string& where) {
  in.check_keys(object, where,
                {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"},
                kUnsupported);
  const std::string dot = where + '.';
  for (const char* key : {"single_word", "lstrip", "rstrip"})
    if (in.bool_at(object, dot, key))
      in.refuse(dot + key, "false", "true", " Added tokens match as they are written here.");
  AddedToken out;
  out.text = in.string_at(object, dot, "content");
  out.special = in.bool_at(object, dot, "special");
  out.normalized = in.bool_at(object, dot, "normalized");
  if (out.text.empty() || out.text.size() > kLongestAddedToken)
    in.refuse(dot + "content", concat("1 to ", kLongestAddedToken, " bytes of text"),
              concat(out.text.size(), " bytes"));
  // The same text would otherwise mean these characters here and the bytes they stand for there.
  const auto bytes = letters_to_bytes(out.text);
  if (bytes && *bytes != out.text)
    in.refuse(dot + "content", "text that is no spelling of other bytes in GPT-2's letters",
              in_quotes(out.text), " Choose another text, for example in ASCII.");
  return out;
}

/// Tokens of the vocabulary and added tokens, each id once and none left out.
void read_tokens(const TokenizerJson& in, const json& document, const json& vocab,
                 BpeModel& model) {
  const json& list = TokenizerJson::find(document, "added_tokens");
  if (!list.is_null() && !list.is_array())
    in.refuse("added_tokens", "an array", TokenizerJson::describe(list));
  std::unordered_set<std::string> added_texts;
  size_t count = vocab.size();
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = concat("added_tokens[", i, ']');
    model.added.push_back(read_added_token(in, list[i], where));
    const std::string& text = model.added.back().text;
    if (!added_texts.insert(text).second)
      in.refuse(where, "every added token once", concat(in_quotes(text), " twice"));
    if (!vocab.contains(text)) ++count;
  }
  model.tokens.resize(count);
  std::vector<bool> seen(count, false);
  for (const auto& item : vocab.items()) {
    const std::string where = concat("model.vocab[", in_quotes(item.key()), ']');
    const uint32_t id = read_id(in, item.value(), where, count);
    if (seen[id]) in.refuse(where, "every id once", concat(id, " twice"));
    seen[id] = true;
    auto bytes = added_texts.contains(item.key()) ? item.key() : letters_to_bytes(item.key());
    if (!bytes || bytes->empty())
      in.refuse(where, "a token in GPT-2's letters for bytes", in_quotes(item.key()), kUnsupported);
    model.tokens[id] = std::move(*bytes);
  }
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = concat("added_tokens[", i, "].id");
    AddedToken& token = model.added[i];
    token.id = read_id(in, in.at(list[i], concat("added_tokens[", i, "]."), "id"), where, count);
    const auto known = vocab.find(token.text);
    if (known != vocab.end() ? *known != token.id : seen[token.id])
      in.refuse(where,
                concat("the id of ", in_quotes(token.text), " in the vocabulary or a new one"),
                std::to_string(token.id));
    seen[token.id] = true;
    model.tokens[token.id] = token.text;
  }
}

/// The two tokens of a merge: ["left", "right"] or, as releases before 0.20 wrote, "left right".
std::pair<std::string_view, std::string_view> merge_parts(const TokenizerJson& in,
                                                          const json& merge,
                                                          const std::string& where) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
  if (merge.is_string()) {
    const std::string_view text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != text.npos && text.find(' ', space + 1) == text.npos)
      return {text.substr(0, space), text.substr(space + 1)};
  }
  in.refuse(where, "two tokens, as [\"a\", \"b\"] or \"a b\"", TokenizerJson::describe(merge));
}

void read_merges(const TokenizerJson& in, const json& settings, BpeModel& model) {
  const json& vocab = settings["vocab"];
  const json& list = in.array_at(settings, "model.", "merges");
  std::unordered_set<uint64_t> seen;
  model.merges.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = concat("model.merges[", i, ']');
    const auto [left, right] = merge_parts(in, list[i], where);
    const auto id_of = [&](const std::string& token) {
      const auto found = vocab.find(token);
      if (found == vocab.end())
        in.refuse(where, "tokens of the vocabulary, also as the result", in_quotes(token));
      return found->get<uint32_t>();
    };
    const BpeMerge merge{id_of(std::string(left)), id_of(std::string(right)),
                         id_of(concat(left, right))};
    if (!seen.insert(uint64_t{merge.left} << 32 | merge.right).second)
      in.refuse(where, "every merge once", concat(in_quotes(concat(left, ' ', right)), " again"));
    model.merges.push_back(merge);
  }
}

}  // namespace

BpeModel parse_tokenizer_json(std::string_view text, const std::string& source) {
  return read_bpe_model(parse_tokenizer_document(text, source), source);
}

BpeModel read_bpe_model(const json& document, const std::string& source) {
  const std::string name = concat('\'', source, '\'');
  const TokenizerJson in(name);
  BpeModel model;
  read_components(in, document, model);
  const json& settings = read_model_settings(in, document, model);
  read_tokens(in, document, settings["vocab"], model);
  read_merges(in, settings, model);
  model.validate(name);
  return model;
}

}  // namespace moe::data
