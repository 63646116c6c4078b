// A SentencePiece model, behind two bytes with its length, and text for it.

#include <moe/data/tokenizers/sentencepiece_tokenizer.h>

#include "tests/fuzz/targets.h"

namespace moe::fuzz {

void sentencepiece(Bytes input) {
  std::string_view rest = text_of(input);
  if (rest.size() < 2) return;
  const size_t length =
      static_cast<unsigned char>(rest[0]) * 256u + static_cast<unsigned char>(rest[1]);
  rest.remove_prefix(2);
  const std::string_view model = rest.substr(0, length), text = rest.substr(model.size());
  std::shared_ptr<const data::Tokenizer> tokenizer;
  if (!accepts([&] { tokenizer = data::read_sentencepiece(model, "tokenizer.model", {}); })) return;
  const auto ids = tokenizer->encode_framed(text);
  for (const int64_t id : ids)
    require(id >= 0 && id < tokenizer->vocabulary(), "an id out of range: ", id);
  tokenizer->decode(ids);
  tokenizer->decode_plain(ids);
  const auto stream = tokenizer->stream({});
  for (const int64_t id : ids) stream->push(id);
  stream->flush();
}

}  // namespace moe::fuzz
