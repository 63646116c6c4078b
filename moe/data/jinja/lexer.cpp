#include <moe/base/error.h>
#include <moe/data/jinja/lexer.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data::jinja {

namespace {

constexpr std::string_view kBlanks = " \t\n\r\v\f";

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) {
    // One kind of line break; the last one goes.
    for (size_t i = 0; i < source.size(); ++i) {
      if (source[i] != '\r')
        source_ += source[i];
      else if (i + 1 == source.size() || source[i + 1] != '\n')
        source_ += '\n';
    }
    if (source_.ends_with('\n')) source_.pop_back();
    rest_ = source_;
  }

  std::vector<Token> run() {
    while (at_ < rest_.size()) take_text_and_tag();
    add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail("chat template", "expected ", what, " on line ", line_,
         " of the template, found none. Correct the template.");
  }
  void add(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, std::move(text), line_});
  }
  void advance(size_t count) {
    for (size_t i = 0; i < count; ++i) line_ += rest_[at_ + i] == '\n';
    at_ += count;
  }
  bool next_is(std::string_view text) const { return rest_.substr(at_).starts_with(text); }

  void take_text_and_tag() {
    size_t open = at_;
    for (;; ++open) {
      open = rest_.find('{', open);
      if (open == rest_.npos || open + 1 >= rest_.size()) return add_text(rest_.size());
      const char second = rest_[open + 1];
      if (second == '{' || second == '%' || second == '#') break;
    }
    const char kind = rest_[open + 1];
    const char sign = open + 2 < rest_.size() ? rest_[open + 2] : '\0';
    size_t end = open;
    if (sign == '-') {
      while (end > at_ && kBlanks.find(rest_[end - 1]) != kBlanks.npos) --end;
    } else if (kind != '{' && sign != '+') {
      // lstrip_blocks: a tag's line begins with the tag.
      size_t begin = open;
      while (begin > at_ && (rest_[begin - 1] == ' ' || rest_[begin - 1] == '\t')) --begin;
      if (begin == 0 || rest_[begin - 1] == '\n') end = begin;
    }
    add_text(end);
    advance(open - end + 2 + (sign == '-' || (sign == '+' && kind != '{')));
    if (kind == '#') return skip_comment();
    take_tag(kind == '{');
  }

  void add_text(size_t end) {
    if (end > at_) add(Token::Kind::kText, std::string(rest_.substr(at_, end - at_)));
    advance(end - at_);
  }

  void skip_comment() {
    const size_t end = rest_.find("#}", at_);
    if (end == rest_.npos) refuse("the end of a comment, #}");
    const bool trims = rest_[end - 1] == '-' && end > at_;
    advance(end + 2 - at_);
    after_tag(trims, true);
  }

  /// White space behind a tag.
  void after_tag(bool trims, bool block) {
    if (trims)
      while (at_ < rest_.size() && kBlanks.find(rest_[at_]) != kBlanks.npos) advance(1);
    else if (block && next_is("\n"))
      advance(1);
  }

  void take_tag(bool output) {
    const std::string_view close = output ? "}}" : "%}";
    const size_t begin = tokens_.size();
    add(output ? Token::Kind::kOpenOutput : Token::Kind::kOpenBlock, "");
    int depth = 0;  // of brackets: }} may end two dicts
    for (;;) {
      while (at_ < rest_.size() && kBlanks.find(rest_[at_]) != kBlanks.npos) advance(1);
      if (at_ >= rest_.size()) refuse(concat("the end of a tag, ", close));
      const char sign = rest_[at_];
      const bool has_sign =
          (sign == '-' || sign == '+') && rest_.substr(at_ + 1).starts_with(close);
      if (depth == 0 && (has_sign || next_is(close))) {
        advance(2 + has_sign);
        add(output ? Token::Kind::kCloseOutput : Token::Kind::kCloseBlock, "");
        after_tag(has_sign && sign == '-', !output && !(has_sign && sign == '+'));
        break;
      }
      take_token(depth);
    }
    const bool is_raw = !output && tokens_.size() == begin + 3 && tokens_[begin + 1].text == "raw";
    if (!is_raw) return;
    tokens_.resize(begin);
    take_raw();
  }

  void take_raw() {
    for (size_t open = rest_.find("{%", at_); open != rest_.npos;
         open = rest_.find("{%", open + 1)) {
      size_t i = open + 2;
      const bool trims_before = i < rest_.size() && rest_[i] == '-';
      i += trims_before;
      while (i < rest_.size() && kBlanks.find(rest_[i]) != kBlanks.npos) ++i;
      if (!rest_.substr(i).starts_with("endraw")) continue;
      const size_t close = rest_.find("%}", i);
      if (close == rest_.npos) break;
      size_t end = open;
      while (trims_before && end > at_ && kBlanks.find(rest_[end - 1]) != kBlanks.npos) --end;
      add_text(end);
      const bool trims = rest_[close - 1] == '-';
      advance(close + 2 - at_);
      return after_tag(trims, true);
    }
    refuse("{% endraw %}");
  }

  void take_token(int& depth) {
    const char c = rest_[at_];
    if (is_name_start(c))
      return take_while(Token::Kind::kName, [](char d) { return is_name_start(d) || is_digit(d); });
    if (is_digit(c)) return take_number();
    if (c == '"' || c == '\'') return take_string(c);
    for (const std::string_view sign : {"==", "!=", "<=", ">=", "//", "**"})
      if (next_is(sign)) {
        add(Token::Kind::kOperator, std::string(sign));
        return advance(2);
      }
    if (std::string_view("+-*/%~<>=()[]{},.:|").find(c) == std::string_view::npos)
      refuse("a name, a number, a string or an operator");
    depth += c == '(' || c == '[' || c == '{';
    depth -= c == ')' || c == ']' || c == '}';
    add(Token::Kind::kOperator, std::string(1, c));
    advance(1);
  }

  template <class Accepts>
  void take_while(Token::Kind kind, Accepts&& accepts) {
    size_t end = at_;
    while (end < rest_.size() && accepts(rest_[end])) ++end;
    add(kind, std::string(rest_.substr(at_, end - at_)));
    advance(end - at_);
  }

  void take_number() {
    size_t end = at_;
    std::string digits;
    bool real = false;
    for (; end < rest_.size(); ++end) {
      const char c = rest_[end];
      const bool point = c == '.' && !real && end + 1 < rest_.size() && is_digit(rest_[end + 1]);
      const bool exponent = (c == 'e' || c == 'E') && end + 1 < rest_.size() &&
                            (is_digit(rest_[end + 1]) || rest_[end + 1] == '-');
      if (!is_digit(c) && c != '_' && !point && !exponent) break;
      if (c != '_') digits += c;
      if (exponent && rest_[end + 1] == '-') digits += rest_[++end];
      real |= point || exponent;
    }
    if (digits.size() > 40) refuse("a number of at most 40 digits");
    add(real ? Token::Kind::kFloat : Token::Kind::kInteger, digits);
    advance(end - at_);
  }

  void take_string(char quote) {
    std::string out;
    size_t i = at_ + 1;
    for (; i < rest_.size() && rest_[i] != quote; ++i) {
      if (rest_[i] != '\\' || i + 1 >= rest_.size()) {
        out += rest_[i];
        continue;
      }
      const char c = rest_[++i];
      const auto code = [&](size_t digits) {
        uint32_t value = 0;
        for (size_t j = 0; j < digits && i + 1 < rest_.size(); ++j) {
          const char d = rest_[++i];
          const bool letter = (d >= 'a' && d <= 'f') || (d >= 'A' && d <= 'F');
          if (!is_digit(d) && !letter) refuse("hexadecimal digits in a string");
          value = value * 16 + static_cast<uint32_t>(is_digit(d) ? d - '0' : (d | 0x20) - 'a' + 10);
        }
        if (value >= 0x110000 || (value >= 0xD800 && value < 0xE000)) refuse("a character's code");
        append_utf8(out, value);
      };
      switch (c) {
        case 'n':
          out += '\n';
          break;
        case 't':
          out += '\t';
          break;
        case 'r':
          out += '\r';
          break;
        case 'f':
          out += '\f';
          break;
        case 'v':
          out += '\v';
          break;
        case 'b':
          out += '\b';
          break;
        case 'a':
          out += '\a';
          break;
        case '0':
          out += '\0';
          break;
        case '\n':
          break;
        case '\\':
        case '"':
        case '\'':
          out += c;
          break;
        case 'x':
          code(2);
          break;
        case 'u':
          code(4);
          break;
        case 'U':
          code(8);
          break;
        default:
          out.append(1, '\\').append(1, c);
      }
    }
    if (i >= rest_.size()) refuse("the end of a string");
    add(Token::Kind::kString, std::move(out));
    advance(i + 1 - at_);
  }

  std::string source_;
  std::string_view rest_;
  size_t at_ = 0, line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize_template(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace moe::data::jinja
