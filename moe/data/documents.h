#pragma once
// Documents: where they are in a text, and how they are laid end to end as tokens.

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include <moe/data/options.h>
#include <moe/data/tokenizer.h>
#include <moe/data/tokens.h>

namespace moe::data {

struct TextDocument {
  /// Without what separates it from the next; not empty.
  std::string_view body;
  /// With what stands behind it (and, for the first, before it): all of them together are the text.
  std::string_view whole;
};

/// The documents of `text` as `packing.documents` says. Between two of them stands what separates
/// them: for "blank_line" the end of a line and lines of white space alone, for "line" the end of a
/// line, for "separator" that string; without text between two separators there is no document.
std::vector<TextDocument> divide_documents(std::string_view text, const PackingOptions& packing);

/// How documents become tokens.
struct DocumentLayout {
  PackingOptions packing = {};
  /// Put behind every document in place of what separates it from the next.
  std::optional<int64_t> end_of_text = {};
  int64_t threads = 1;

  bool apart() const { return packing.attention == "document"; }
};

/// Throws ConfigError when an end-of-text token is asked for and `tokenizer` has none.
DocumentLayout make_layout(const PackingOptions& packing, const Tokenizer& tokenizer,
                           int64_t threads);

/// The tokens of `text`, which `owner` keeps alive. Every document is encoded by itself; bytes that
/// are tokens stay mapped.
Tokens tokens_of_documents(std::shared_ptr<const void> owner, std::string_view text,
                           const Tokenizer& tokenizer, const DocumentLayout& layout);

/// One document as `join_documents` takes it.
struct EncodedDocument {
  std::vector<int64_t> ids;
  /// Of these, how many at the front are no targets (a prompt).
  size_t untrained = 0;
};

/// Appends the documents of `texts` in order: `encode` is called with each index, by several
/// threads, and may throw. `with_marks`: targets are marked.
Tokens join_documents(const std::vector<std::string_view>& texts,
                      const std::function<EncodedDocument(size_t index)>& encode,
                      int64_t vocabulary, bool with_marks, const DocumentLayout& layout);

}  // namespace moe::data
