#pragma once
// Instruction data: JSON lines {"prompt": "...", "completion": "..."}. Documents are packed one
// after another; of the targets only the completion and the separator behind it count.

#include <string_view>

#include <moe/data/tokenizer.h>
#include <moe/data/tokens.h>

namespace moe::data {

/// Ends every document, so that a model learns to stop.
inline constexpr std::string_view kDocumentEnd = "\n\n";

/// Reads the lines of `text`; `source` names them in messages, where the first has the number
/// `first_line`. Blank lines are skipped, other keys ignored. Throws Error naming the line for
/// anything that is not such an object or whose completion is empty.
Tokens read_prompt_completion(std::string_view text, const Tokenizer& tokenizer,
                              std::string_view source, int64_t first_line = 1);

}  // namespace moe::data
