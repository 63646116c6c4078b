#include <algorithm>

#include <moe/base/error.h>
#include <moe/data/json_lines.h>
#include <moe/formats/strict_json.h>

namespace moe::data {

namespace {

using Ids = std::vector<int64_t>;

/// One line that is not blank, and its fields.
class JsonLine {
 public:
  /// `form` is what messages tell to write.
  JsonLine(std::string_view line, std::string place, const char* form)
      : place_(std::move(place)), form_(form) {
    try {
      object_ = nlohmann::json::parse(line);
    } catch (const nlohmann::json::exception& error) {
      fail("data/corpus", "expected a JSON object in ", place_, ", got a ",
           formats::problem_of(error), ". Correct the line.");
    }
    check(object_.is_object(), "data/corpus", "expected a JSON object in ", place_, ", got ",
          object_.type_name(), ". Write ", form_, '.');
  }

  std::string text(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end() || !found->is_string())
      fail("data/corpus", "expected a string \"", key, "\" in ", place_, ", got ",
           found == object_.end() ? "none" : found->type_name(), ". Write ", form_, '.');
    return found->get<std::string>();
  }

  /// The text under `key`, which must not be empty.
  std::string filled_text(const char* key) const {
    std::string out = text(key);
    check(!out.empty(), "data/corpus", "expected a ", key, " in ", place_,
          ", got an empty one. Remove the line.");
    return out;
  }

 private:
  std::string place_;
  const char* form_;
  nlohmann::json object_;
};

/// Ids of `text` with what ends a document.
Ids encode_to_the_end(std::string_view text, const Tokenizer& tokenizer,
                      const DocumentLayout& layout) {
  Ids out = tokenizer.encode(text);
  const Ids end = layout.end_of_text ? Ids{*layout.end_of_text} : tokenizer.encode(kDocumentEnd);
  out.insert(out.end(), end.begin(), end.end());
  return out;
}

/// The documents that `encode` makes of the lines.
Tokens read_lines(std::string_view text, std::string_view source, int64_t first_line,
                  const char* form, int64_t vocabulary, bool with_marks,
                  const DocumentLayout& layout,
                  const std::function<EncodedDocument(const JsonLine&)>& encode) {
  std::vector<std::string_view> lines;
  std::vector<int64_t> numbers;
  for (int64_t number = first_line; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    lines.push_back(line);
    numbers.push_back(number);
  }
  return join_documents(
      lines,
      [&](size_t i) {
        return encode(JsonLine(lines[i], concat("line ", numbers[i], " of ", source), form));
      },
      vocabulary, with_marks, layout);
}

}  // namespace

Tokens read_prompt_completion(std::string_view text, const Tokenizer& tokenizer,
                              std::string_view source, int64_t first_line,
                              const DocumentLayout& layout) {
  constexpr const char* kForm = "{\"prompt\": \"...\", \"completion\": \"...\"}";
  return read_lines(text, source, first_line, kForm, tokenizer.vocabulary(), true, layout,
                    [&](const JsonLine& line) {
                      EncodedDocument out{tokenizer.encode(line.text("prompt"))};
                      out.untrained = out.ids.size();
                      const Ids rest =
                          encode_to_the_end(line.filled_text("completion"), tokenizer, layout);
                      out.ids.insert(out.ids.end(), rest.begin(), rest.end());
                      return out;
                    });
}

Tokens read_json_texts(std::string_view text, const Tokenizer& tokenizer, std::string_view source,
                       int64_t first_line, const DocumentLayout& layout) {
  return read_lines(
      text, source, first_line, "{\"text\": \"...\"}", tokenizer.vocabulary(), false, layout,
      [&](const JsonLine& line) {
        return EncodedDocument{encode_to_the_end(line.filled_text("text"), tokenizer, layout)};
      });
}

}  // namespace moe::data
