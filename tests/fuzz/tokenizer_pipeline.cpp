// A tokenizer.json of any form, a NUL byte, and text for it.

#include <moe/base/utf8.h>
#include <moe/data/tokenizers/read_tokenizer.h>

#include "tests/fuzz/targets.h"

namespace moe::fuzz {

void tokenizer_pipeline(Bytes input) {
  std::string_view rest = text_of(input);
  const std::string json(take_until(rest, '\0'));
  std::shared_ptr<const data::Tokenizer> tokenizer;
  if (!accepts([&] { tokenizer = data::parse_tokenizer(json, "tokenizer.json"); })) return;
  std::vector<int64_t> ids, framed;
  // A pattern may take too much work, which is said.
  if (!accepts([&] { ids = tokenizer->encode(rest); })) return;
  if (!accepts([&] { framed = tokenizer->encode_framed(rest); })) return;
  for (const int64_t id : framed)
    require(id >= 0 && id < tokenizer->vocabulary(), "an id out of range: ", id);
  require(framed.size() >= ids.size(), "what stands around a text took something of it");
  const std::string decoded = tokenizer->decode(ids);
  require(tokenizer->decode_plain(ids).size() <= decoded.size() + 64, "plain text is longer");
  const auto stream = tokenizer->stream({});
  for (const int64_t id : ids) stream->push(id);
  stream->flush();
  require(!accepts([&] { tokenizer->decode(std::vector<int64_t>{tokenizer->vocabulary()}); }),
          "an id that is none was decoded");
  const auto again = data::parse_tokenizer(tokenizer->tokenizer_json(), "written");
  require(again->encode(rest) == ids, "the tokenizer made again encodes otherwise");
}

}  // namespace moe::fuzz
