// A byte, the lines of a tiktoken vocabulary behind those of all bytes, a NUL byte, and text.

#include <moe/base/utf8.h>
#include <moe/data/tokenizers/charsmap.h>
#include <moe/data/tokenizers/tiktoken.h>
#include <moe/data/tokenizers/tiktoken_file.h>

#include "tests/fuzz/targets.h"

namespace moe::fuzz {

namespace {

/// Nobody mutates 256 lines into one another's places and gets a vocabulary.
std::string lines_of_bytes() {
  std::string out;
  for (int byte = 0; byte < 256; ++byte)
    out += concat(data::encode_base64(std::string(1, static_cast<char>(byte))), ' ', byte, '\n');
  return out;
}

}  // namespace

void tiktoken(Bytes input) {
  std::string_view rest = text_of(input);
  if (rest.empty()) return;
  const char kind = rest.front();
  rest.remove_prefix(1);
  const std::string file = ((kind & 1) ? lines_of_bytes() : "").append(take_until(rest, '\0'));
  data::TokenizerSettings settings;
  settings.tokenizer_class = (kind & 2) ? "TikTokenTokenizer" : "QWenTokenizer";
  data::is_tiktoken_file(file);
  std::shared_ptr<const data::Tokenizer> tokenizer;
  if (!accepts([&] { tokenizer = data::read_tiktoken(file, "t.tiktoken", settings); })) return;
  const std::string text(rest);
  const auto ids = tokenizer->encode(text);
  for (const int64_t id : ids)
    require(id >= 0 && id < tokenizer->vocabulary(), "an id out of range: ", id);
  if ((kind & 2) && is_utf8(text))
    require(tokenizer->decode(ids) == text, "decode(encode(text)) is another text");
  const auto plain = tokenizer->without_special()->encode(text);
  for (const int64_t id : plain)
    require(id < tokenizer->vocabulary() - 208, "text became the special token ", id);
}

}  // namespace moe::fuzz
