// From Oniguruma's syntax (Ruby's) to that of PCRE2.

#include <vector>

#include <moe/base/error.h>
#include <moe/data/tokenizers/regex.h>
#include <moe/formats/strict_json.h>

namespace moe::data {

namespace {

// What stands between brackets for each class.
constexpr const char* kSpaces =
    "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"
    "\\x{3000}";
constexpr const char* kNoSpaces =
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x84\\x86-\\x9f\\xa1-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-"
    "\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}";
constexpr const char* kWordCharacters =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{"
    "1f149}\\x{1f150}-"
    "\\x{1f169}\\x{1f170}-\\x{1f189}";

class RegexTranslator {
 public:
  explicit RegexTranslator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) take();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail("data/tokenizer", "expected a regular expression without ", what, ", got ",
         formats::in_quotes(pattern_), ". This version does not read it.");
  }
  bool next_is(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }

  void take() {
    const char c = pattern_[at_];
    if (c == '\\') {
      atom_ = out_.size();
      take_escape(false);
    } else if (c == '[') {
      atom_ = out_.size();
      take_set(0);
    } else if (c == '(') {
      open_.push_back(out_.size());
      take_group();
    } else if (c == ')') {
      if (!open_.empty()) {
        atom_ = open_.back();
        open_.pop_back();
      }
      out_ += pattern_[at_++];
    } else if (c == '{') {
      take_count();
    } else {
      if (c != '*' && c != '+' && c != '?') atom_ = out_.size();
      // A character of several bytes is one atom.
      do out_ += pattern_[at_++];
      while (at_ < pattern_.size() && (static_cast<unsigned char>(pattern_[at_]) & 0xC0) == 0x80);
    }
  }

  /// {n,m} and what may follow: "+" repeats it in Ruby and does not make it possessive.
  void take_count() {
    const size_t end = pattern_.find('}', at_);
    const std::string_view inside =
        end == pattern_.npos ? std::string_view() : pattern_.substr(at_ + 1, end - at_ - 1);
    if (inside.empty() || inside == "," || inside.find_first_not_of("0123456789,") != inside.npos) {
      atom_ = out_.size();
      out_ += "\\{";
      ++at_;
      return;
    }
    out_ += inside.front() == ',' ? concat("{0", inside, '}') : concat('{', inside, '}');
    at_ = end + 1;
    if (!next_is("+")) return;
    out_.insert(atom_, "(?:");
    out_ += ")+";
    ++at_;
  }

  void take_group() {
    out_ += pattern_[at_++];
    if (!next_is("?")) return;
    out_ += pattern_[at_++];
    // Flags: (?m) lets the dot match line breaks, which is (?s) elsewhere.
    while (at_ < pattern_.size() &&
           std::string_view("imx-").find(pattern_[at_]) != std::string::npos)
      out_ += pattern_[at_] == 'm' ? (++at_, 's') : pattern_[at_++];
    if (next_is("~")) refuse("an absence operator");
  }

  /// The hexadecimal digits at the place, at most `most` of them.
  std::string take_digits(size_t most) {
    std::string digits;
    while (digits.size() < most && at_ < pattern_.size() &&
           std::string_view("0123456789abcdefABCDEF").find(pattern_[at_]) != std::string::npos)
      digits += pattern_[at_++];
    return digits;
  }

  void take_escape(bool in_set) {
    ++at_;
    if (at_ >= pattern_.size()) refuse("a backslash at its end");
    const char c = pattern_[at_++];
    const auto put = [&](const char* characters, bool negated) {
      if (in_set && negated) refuse(concat("\\", c, " inside brackets"));
      out_ += in_set ? std::string(characters) : concat(negated ? "[^" : "[", characters, ']');
    };
    switch (c) {
      case 's':
        return put(kSpaces, false);
      case 'S':
        return put(kNoSpaces, false);
      case 'w':
        return put(kWordCharacters, false);
      case 'W':
        return put(kWordCharacters, true);
      case 'h':
        return put("0-9a-fA-F", false);
      case 'H':
        return put("0-9a-fA-F", true);
      case 'u': {
        const std::string digits = take_digits(4);
        if (digits.size() != 4) refuse("\\u without four digits");
        out_ += concat("\\x{", digits, '}');
        return;
      }
      default:
        out_ += concat('\\', c);
    }
    // \p{L}, \x{20ac}, \k<name>: what is in brackets is a name.
    const bool named = std::string_view("pPxgk").find(c) != std::string_view::npos;
    if (!named || at_ >= pattern_.size() || (pattern_[at_] != '{' && pattern_[at_] != '<')) return;
    const size_t end = pattern_.find(pattern_[at_] == '{' ? '}' : '>', at_);
    if (end == pattern_.npos) refuse("a name that does not end");
    out_ += pattern_.substr(at_, end + 1 - at_);
    at_ = end + 1;
  }

  /// What [:name:] holds.
  void take_named_set(std::string_view name) {
    if (name == "space")
      out_ += kSpaces;
    else if (name == "punct")
      out_ += "\\p{P}\\p{S}";
    else if (name == "alpha")
      out_ += "\\p{Alphabetic}";
    else if (name == "alnum")
      out_ += "\\p{Alphabetic}\\p{Nd}";
    else if (name == "word")
      out_ += kWordCharacters;
    else if (name.starts_with('^'))
      refuse("a negated set inside a set");
    else
      out_ += concat("[:", name, ":]");
  }

  /// [...], with the members of sets inside it.
  void take_set(int depth) {
    if (depth > 20) refuse("sets nested so deep");
    ++at_;
    const bool negated = next_is("^");
    if (negated && depth > 0) refuse("a negated set inside a set");
    if (depth == 0) out_ += negated ? "[^" : "[";
    at_ += negated;
    for (bool first = true;; first = false) {
      if (at_ >= pattern_.size()) refuse("a set that does not end");
      if (next_is("]") && !first) break;
      if (next_is("&&")) refuse("an intersection of sets (&&)");
      if (next_is("[:")) {
        const size_t end = pattern_.find(":]", at_);
        if (end == pattern_.npos) refuse("a set that does not end");
        take_named_set(pattern_.substr(at_ + 2, end - at_ - 2));
        at_ = end + 2;
      } else if (next_is("[")) {
        take_set(depth + 1);
      } else if (next_is("\\")) {
        take_escape(true);
      } else {
        if (next_is("]")) out_ += '\\';
        out_ += pattern_[at_++];
      }
    }
    ++at_;
    if (depth == 0) out_ += ']';
  }

  std::string_view pattern_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;           // where the last atom begins in out_
  std::vector<size_t> open_;  // where groups begin in out_
};

}  // namespace

std::string pcre2_pattern(std::string_view pattern) {
  return RegexTranslator(pattern).run();
}

}  // namespace moe::data
