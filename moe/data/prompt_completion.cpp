#include <algorithm>

#include <nlohmann/json.hpp>

#include <moe/base/error.h>
#include <moe/data/prompt_completion.h>

namespace moe::data {

namespace {

/// The string under `key`, or an error that names the line.
std::string json_text(const nlohmann::json& object, const char* key, std::string_view place) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string())
    fail("data/corpus", "expected a string \"", key, "\" in ", place, ", got ",
         found == object.end() ? "none" : found->type_name(),
         ". Write {\"prompt\": \"...\", \"completion\": \"...\"}.");
  return found->get<std::string>();
}

}  // namespace

Tokens read_prompt_completion(std::string_view text, const Tokenizer& tokenizer,
                              std::string_view source, int64_t first_line) {
  TokensBuilder tokens(tokenizer.vocabulary());
  for (int64_t line_number = first_line; !text.empty(); ++line_number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = concat("line ", line_number, " of ", source);
    nlohmann::json object;
    try {
      object = nlohmann::json::parse(line);
    } catch (const nlohmann::json::exception& error) {
      fail("data/corpus", "expected a JSON object in ", place, ", got: ", error.what(),
           ". Correct the line.");
    }
    check(object.is_object(), "data/corpus", "expected a JSON object in ", place, ", got ",
          object.type_name(), ". Write {\"prompt\": \"...\", \"completion\": \"...\"}.");
    const std::string prompt = json_text(object, "prompt", place);
    const std::string completion = json_text(object, "completion", place);
    check(!completion.empty(), "data/corpus", "expected a completion in ", place,
          ", got an empty one. Remove the line.");
    tokens.append(tokenizer.encode(prompt), false);
    tokens.append(tokenizer.encode(completion), true);
    tokens.append(tokenizer.encode(kDocumentEnd), true);
  }
  return std::move(tokens).finish();
}

}  // namespace moe::data
