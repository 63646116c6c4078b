#include <moe/data/tokenizers/components.h>
#include <moe/data/tokenizers/post_processor.h>

namespace moe::data {

namespace {

using nlohmann::json;

class PostProcessorReader {
 public:
  PostProcessorReader(const TokenizerJson& in, size_t vocabulary)
      : in_(in), vocabulary_(vocabulary) {}

  void read(const json& object, const std::string& where) {
    const std::string dot = where + '.';
    const std::string& type = in_.string_at(object, dot, "type");
    if (type == "TemplateProcessing") return read_template(object, dot);
    if (type == "BertProcessing" || type == "RobertaProcessing") {
      check_component(in_, object, dot, {"sep", "cls", "trim_offsets", "add_prefix_space"});
      return surround({token_id(object, dot, "cls")}, {token_id(object, dot, "sep")});
    }
    if (type == "ByteLevel")  // moves offsets only, which nobody here sees
      return check_component(in_, object, dot, {"add_prefix_space", "trim_offsets", "use_regex"});
    if (type != "Sequence")
      in_.refuse(where,
                 "one of TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, "
                 "Sequence",
                 formats::in_quotes(type), " This version does not know it.");
    check_component(in_, object, dot, {"processors"});
    const json& list = in_.array_at(object, dot, "processors");
    for (size_t i = 0; i < list.size(); ++i) read(list[i], concat(dot, "processors[", i, ']'));
  }

  TextFrame out;

 private:
  /// A processor finds what those before it have put around the text already.
  void surround(const std::vector<uint32_t>& before, const std::vector<uint32_t>& behind) {
    out.before.insert(out.before.begin(), before.begin(), before.end());
    out.behind.insert(out.behind.end(), behind.begin(), behind.end());
  }

  uint32_t check_id(const json& value, const std::string& where) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() >= vocabulary_)
      in_.refuse(where, concat("an id in [0, ", vocabulary_, ')'), TokenizerJson::describe(value));
    return value.get<uint32_t>();
  }

  /// ["[SEP]", 102]
  uint32_t token_id(const json& object, const std::string& where, const char* key) const {
    const json& pair = in_.array_at(object, where, key);
    if (pair.size() != 2) in_.refuse(where + key, "a token and its id", "another array");
    return check_id(pair[1], where + key);
  }

  void read_template(const json& object, const std::string& where) {
    check_component(in_, object, where, {"single", "pair", "special_tokens"});
    const json& special = in_.at(object, where, "special_tokens");
    const json& list = in_.array_at(object, where, "single");
    std::vector<uint32_t> parts[2];
    size_t texts = 0;
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string place = concat(where, "single[", i, ']');
      if (list[i].is_object() && list[i].contains("Sequence")) {
        ++texts;
        continue;
      }
      if (!list[i].is_object() || !list[i].contains("SpecialToken"))
        in_.refuse(place, "a Sequence or a SpecialToken", TokenizerJson::describe(list[i]));
      const std::string& name =
          in_.string_at(list[i]["SpecialToken"], place + ".SpecialToken.", "id");
      const std::string token = concat(where, "special_tokens.", name, '.');
      const json& ids =
          in_.array_at(in_.at(special, where + "special_tokens.", name.c_str()), token, "ids");
      for (const auto& id : ids) parts[texts > 0].push_back(check_id(id, token + "ids"));
    }
    if (texts != 1) in_.refuse(where + "single", "the text once", concat(texts, " times"));
    surround(parts[0], parts[1]);
  }

  const TokenizerJson& in_;
  size_t vocabulary_;
};

}  // namespace

TextFrame read_post_processor(const TokenizerJson& in, const nlohmann::json& object,
                              const std::string& where, size_t vocabulary) {
  PostProcessorReader reader(in, vocabulary);
  if (!object.is_null()) reader.read(object, where);
  return std::move(reader.out);
}

}  // namespace moe::data
