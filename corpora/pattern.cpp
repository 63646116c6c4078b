#include <vector>

#include <corpora/pattern.h>
#include <moe/base/error.h>

namespace moe::corpora {

namespace {

/// Position of the bracket that closes the one at `open`.
size_t closing_bracket(std::string_view pattern, size_t open, char opener, char closer) {
  int depth = 0;
  for (size_t i = open; i < pattern.size(); ++i) {
    if (pattern[i] == opener) ++depth;
    if (pattern[i] == closer && --depth == 0) return i;
  }
  fail("corpora", "expected '", closer, "' in the pattern \"", pattern, "\". Close the bracket.");
}

std::vector<std::string_view> alternatives(std::string_view body) {
  std::vector<std::string_view> out;
  size_t begin = 0;
  int depth = 0;
  for (size_t i = 0; i < body.size(); ++i) {
    if (body[i] == '[') ++depth;
    if (body[i] == ']') --depth;
    if (body[i] == '|' && depth == 0) {
      out.push_back(body.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  out.push_back(body.substr(begin));
  return out;
}

}  // namespace

std::string expand(std::string_view pattern, Draw& draw, const Slots& slots) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '[' && c != '{' && c != '<') {
      out += c;
      continue;
    }
    const size_t end = closing_bracket(pattern, i, c, c == '[' ? ']' : c == '{' ? '}' : '>');
    const auto body = pattern.substr(i + 1, end - i - 1);
    if (c == '[')
      out += expand(draw.pick(alternatives(body)), draw, slots);
    else
      out += expand(slots(c, body), draw, slots);
    i = end;
  }
  return out;
}

}  // namespace moe::corpora
