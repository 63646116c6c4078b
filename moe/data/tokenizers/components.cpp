#include <moe/data/tokenizers/components.h>

namespace moe::data {

TextPattern::TextPattern(const TokenizerJson& in, const nlohmann::json& object,
                         const std::string& where, const char* key) {
  const nlohmann::json& value = in.at(object, where, key);
  const std::string place = where + key;
  if (value.is_string()) {  // files of early releases
    literal_ = value.get<std::string>();
  } else if (value.is_object() && value.contains("Regex")) {
    in.check_keys(value, place, {"Regex"});
    regex_ = std::make_shared<Regex>(in.string_at(value, place + '.', "Regex"),
                                     concat('\'', place, "' of ", in.source()));
    return;
  } else {
    in.check_keys(value, place, {"String"});
    literal_ = in.string_at(value, place + '.', "String");
  }
  if (literal_.empty()) in.refuse(place, "a text to look for", "an empty one");
}

std::string TextPattern::replace(std::string_view text, std::string_view content) const {
  const TextWork work(text.size());
  std::string out;
  out.reserve(text.size());
  divide(text, [&](size_t begin, size_t end, bool match) {
    out += match ? content : text.substr(begin, end - begin);
    // Replacements of replacements make a short text endless.
    if (match) TextWork::write(content.size());
  });
  return out;
}

}  // namespace moe::data
