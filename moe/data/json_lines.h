#pragma once
// JSON lines, one document each: {"text": "..."}, or instruction data {"prompt": "...",
// "completion": "..."}, of which only the completion and what ends the document are targets.

#include <string_view>

#include <moe/data/documents.h>

namespace moe::data {

/// Ends every document where no end-of-text token does, so that a model learns to stop.
inline constexpr std::string_view kDocumentEnd = "\n\n";

/// Reads the lines of `text`; `source` names them in messages, where the first has the number
/// `first_line`. Blank lines are skipped, other keys ignored. Throws Error naming the line for
/// anything that is not such an object or whose completion is empty.
Tokens read_prompt_completion(std::string_view text, const Tokenizer& tokenizer,
                              std::string_view source, int64_t first_line = 1,
                              const DocumentLayout& layout = {});

/// The same for {"text"}, where every token is a target and an empty text is refused.
Tokens read_json_texts(std::string_view text, const Tokenizer& tokenizer, std::string_view source,
                       int64_t first_line = 1, const DocumentLayout& layout = {});

}  // namespace moe::data
