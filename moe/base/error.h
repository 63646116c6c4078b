#pragma once
// Errors of the library. A message is one line that names the place, the expectation, the value
// found and the remedy: "[routing/topk] expected top_k in [1, num_experts=8], got 9. Lower top_k or
// add experts." A list (missing tensors, unknown keys) follows on lines indented by two spaces.

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

/// Something a caller or a file caused; `tools/` catches it. A message may quote untrusted names
/// and text, so it is kept fit to be shown (`fit_to_show`).
class Error : public std::runtime_error {
 public:
  explicit Error(std::string_view message);
};

/// A wrong setting or wrong usage; the program exits with status 2 instead of 1.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// `message` as a terminal and a JSON document may have it: control characters and bytes that are
/// no UTF-8 become "\\x1b", but for line breaks before two spaces, which begin the items of a list;
/// what is longer than 8000 bytes loses its middle. Idempotent.
std::string fit_to_show(std::string_view message);

/// The parts streamed one after another.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

/// Throws `Kind` with the message "[place] parts...".
template <class Kind = Error, class... Parts>
[[noreturn]] void fail(std::string_view place, const Parts&... parts) {
  throw Kind(concat('[', place, "] ", parts...));
}

/// `fail` unless `ok`. Use `if (!ok) fail(...)` where making the parts costs something.
template <class Kind = Error, class... Parts>
void check(bool ok, std::string_view place, const Parts&... parts) {
  if (!ok) [[unlikely]]
    fail<Kind>(place, parts...);
}

/// `words` joined by `separator`.
std::string join(const std::vector<std::string>& words, std::string_view separator = ", ");

/// " Did you mean 'x'?" for the word of `known` nearest to `word` by edit distance, or "" when none
/// is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

/// Throws ConfigError unless `value` is one of `known`; `option` names the setting in the message.
void check_one_of(std::string_view place, std::string_view option, const std::string& value,
                  const std::vector<std::string>& known);

/// `items` each on its own line, indented by two spaces, with a leading newline; at most `most` of
/// them.
std::string indented_list(const std::vector<std::string>& items, size_t most = 50);

}  // namespace moe
