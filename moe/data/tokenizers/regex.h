#pragma once
// Regular expressions of tokenizer.json, which are written for Oniguruma (Ruby's syntax), by PCRE2.

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <moe/data/tokenizers/text_work.h>

namespace moe::data {

/// `pattern` as PCRE2 has it: \s, \w, \d and \h as Oniguruma reads them, (?m) as "dot matches all",
/// a `+` behind {n,m} as a repetition, \uHHHH, sets inside sets. Throws Error for what cannot be
/// said in PCRE2.
std::string pcre2_pattern(std::string_view pattern);

struct RegexMatch {
  size_t begin, end;
};

/// A compiled pattern. Immutable and thread-safe. A search that takes too much work (TextWork)
/// throws Error.
class Regex {
 public:
  /// Throws Error for a pattern that does not compile; `where` names its place in the file.
  Regex(std::string_view pattern, const std::string& where);

  /// The first match in `text` (UTF-8) at or behind `from`.
  std::optional<RegexMatch> search(std::string_view text, size_t from) const;

  /// Calls take(begin, end, whether it is a match) for all stretches of `text`, matches and what
  /// lies between, in order. Empty matches are not handed on.
  template <class Take>
  void divide(std::string_view text, Take&& take) const {
    const TextWork work(text.size());
    size_t done = 0, from = 0;
    while (from <= text.size()) {
      const auto found = search(text, from);
      if (!found) break;
      if (found->end == found->begin) {
        from = found->end + 1;
        while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80)
          ++from;
        continue;
      }
      if (found->begin > done) take(done, found->begin, false);
      take(found->begin, found->end, true);
      done = from = found->end;
    }
    if (done < text.size()) take(done, text.size(), false);
  }

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace moe::data
