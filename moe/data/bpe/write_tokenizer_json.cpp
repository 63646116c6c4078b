#include <nlohmann/json.hpp>

#include <moe/data/bpe/bpe_model.h>
#include <moe/data/bpe/byte_letters.h>

namespace moe::data {

namespace {

using nlohmann::ordered_json;

ordered_json byte_level_json(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

std::string added_tokens_json(const BpeModel& model) {
  ordered_json out = ordered_json::array();
  for (const auto& token : model.added)
    out.push_back({{"id", token.id},
                   {"content", token.text},
                   {"single_word", false},
                   {"lstrip", false},
                   {"rstrip", false},
                   {"normalized", token.normalized},
                   {"special", token.special}});
  return out.dump();
}

}  // namespace

std::string write_tokenizer_json(const BpeModel& model) {
  // A line a token and a line a merge, which no writer of whole documents lays out.
  std::vector<std::string> quoted;
  quoted.reserve(model.tokens.size());
  const std::vector<bool> added = model.is_added();
  for (size_t id = 0; id < model.tokens.size(); ++id)
    quoted.push_back(
        ordered_json(added[id] ? model.tokens[id] : bytes_to_letters(model.tokens[id])).dump());

  std::string out =
      "{\n\"version\": \"1.0\",\n\"truncation\": null,\n\"padding\": null,\n\"added_tokens\": ";
  out += added_tokens_json(model) + ",\n\"normalizer\": null,\n\"pre_tokenizer\": ";
  out += byte_level_json(model.add_prefix_space, model.use_regex).dump();
  out += ",\n\"post_processor\": null,\n\"decoder\": ";
  out += byte_level_json(model.add_prefix_space, model.use_regex).dump();
  out +=
      ",\n\"model\": {\n\"type\": \"BPE\",\n\"dropout\": null,\n\"unk_token\": null,\n"
      "\"continuing_subword_prefix\": null,\n\"end_of_word_suffix\": null,\n\"fuse_unk\": false,\n"
      "\"byte_fallback\": false,\n\"ignore_merges\": ";
  out += model.ignore_merges ? "true" : "false";
  out += ",\n\"vocab\": {";
  for (size_t id = 0; id < quoted.size(); ++id)
    out += (id == 0 ? "\n" : ",\n") + quoted[id] + ": " + std::to_string(id);
  out += "\n},\n\"merges\": [";
  for (size_t i = 0; i < model.merges.size(); ++i) {
    const auto& merge = model.merges[i];
    out += i == 0 ? "\n[" : ",\n[";
    out += quoted[merge.left] + ", " + quoted[merge.right] + ']';
  }
  return out + "\n]\n}\n}\n";
}

}  // namespace moe::data
