#pragma once
// Named domains of token data, each split into training and validation.

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moe/base/files.h>
#include <moe/data/documents.h>

namespace moe::data {

struct Domain {
  std::string name;
  Tokens train;
  Tokens valid;       // empty when the domain has no validation data
  double weight = 0;  // share of the rows of a batch; all domains together have 1
};

/// Immutable and thread-safe. With the byte tokenizer a text file is its own token data: it stays
/// mapped while the corpus lives, and nothing is copied. Another tokenizer encodes every file once,
/// when it is opened, into two or four bytes of memory a token. Where documents stand apart
/// (data.packing), tokens know where each begins.
class Corpus {
 public:
  /// Opens every domain of `options`. Throws ConfigError, naming domain and path, for a file that
  /// is missing, empty or shorter than one row needs (sequence + 1 tokens; 2 for validation), for
  /// domains of the same name, and for weights that add up to nothing.
  explicit Corpus(const DataOptions& options, int64_t threads = 1);

  const std::vector<Domain>& domains() const { return domains_; }
  /// The domain called `name`; throws ConfigError with a suggestion.
  const Domain& domain(std::string_view name) const;
  int64_t sequence() const { return sequence_; }
  int64_t train_tokens() const;
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }

 private:
  std::vector<Domain> domains_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  int64_t sequence_;
};

/// Splits `text` after the first (1 - share) of its bytes or, with `by_characters`, of its
/// characters; never inside a character. Bytes that are no UTF-8 count as characters of their own.
std::pair<std::string_view, std::string_view> split_head(std::string_view text, double share,
                                                         bool by_characters);

/// The tokens of `text`, a part of `file`, which holds one of text_formats(); of "tokens" all of
/// the file. `file`'s name and lines are those of messages.
Tokens read_tokens(const std::shared_ptr<const MappedFile>& file, std::string_view text,
                   const std::string& format, const Tokenizer& tokenizer,
                   const DocumentLayout& layout);

}  // namespace moe::data
