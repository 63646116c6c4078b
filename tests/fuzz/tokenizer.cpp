// A tokenizer.json, and text for the tokenizer that it makes.

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/bpe/byte_letters.h>

#include "tests/fuzz/targets.h"

namespace moe::fuzz {

namespace {

struct TokenizerInput {
  std::string json, text;
};

/// A whole document around what differs between tokenizers; nobody mutates 256 bytes' letters into
/// one another's places and gets a vocabulary.
std::string document_of(std::string_view settings, std::string_view vocabulary,
                        std::string_view merges, std::string_view added) {
  std::string out = R"({"added_tokens": [)";
  out.append(added).append(R"(], "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": )");
  out += !settings.empty() && (settings[0] & 1) ? "true" : "false";
  out += R"(, "use_regex": )";
  out += !settings.empty() && (settings[0] & 2) ? "true" : "false";
  out += R"(}, "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "ignore_merges": )";
  out += !settings.empty() && (settings[0] & 4) ? "true" : "false";
  out += R"(, "vocab": {)";
  for (int byte = 0; byte < 256; ++byte) {
    const std::string letter = data::bytes_to_letters(std::string(1, static_cast<char>(byte)));
    const bool escaped = letter == "\"" || letter == "\\";
    out += concat(byte == 0 ? "\"" : ", \"", escaped ? "\\" : "", letter, "\": ", byte);
  }
  return out.append(vocabulary).append(R"(}, "merges": [)").append(merges).append("]}}");
}

/// The document, a NUL byte and the text; or, when the input begins with a NUL byte, settings, the
/// rest of the vocabulary, merges, added tokens and the text, a NUL byte between any two.
TokenizerInput input_of(std::string_view rest) {
  TokenizerInput out;
  if (rest.starts_with('\0')) {
    rest.remove_prefix(1);
    const auto settings = take_until(rest, '\0'), vocabulary = take_until(rest, '\0'),
               merges = take_until(rest, '\0'), added = take_until(rest, '\0');
    out.json = document_of(settings, vocabulary, merges, added);
  } else {
    out.json = take_until(rest, '\0');
  }
  out.text = rest;
  return out;
}

}  // namespace

void tokenizer(Bytes input) {
  const auto [json, text] = input_of(text_of(input));
  data::BpeModel model;
  if (!accepts([&] { model = data::parse_tokenizer_json(json, "tokenizer.json"); })) return;
  const data::BpeTokenizer tokenizer(model, "tokenizer.json");

  const auto ids = tokenizer.encode(text);
  for (const int64_t id : ids)
    require(id >= 0 && id < tokenizer.vocabulary(), "an id out of range: ", id);
  const std::string decoded = tokenizer.decode(ids);
  if (model.add_prefix_space)
    require(decoded.size() >= text.size(), "decoding lost bytes");
  else
    require(decoded == text, "decode(encode(text)) is another text");
  require(tokenizer.decode_plain(ids).size() <= decoded.size(), "plain text is longer");
  require(!accepts([&] { tokenizer.decode(std::vector<int64_t>{tokenizer.vocabulary()}); }),
          "an id that is none was decoded");

  std::shared_ptr<const data::Tokenizer> plain;
  if (accepts([&] { plain = tokenizer.without_special(); })) {
    const auto as_text = plain->encode(text);
    for (const auto& token : model.added)
      for (const int64_t id : as_text)
        require(!token.special || id != token.id, "text became the special token ", id);
    require(model.add_prefix_space || plain->decode(as_text) == text,
            "decode(encode(text)) is another text without special tokens");
  }

  const std::string written = tokenizer.tokenizer_json();
  const data::BpeTokenizer again(data::parse_tokenizer_json(written, "written"), "written");
  require(again.tokenizer_json() == written, "the tokenizer changed when written twice");
  require(again.encode(text) == ids, "the written tokenizer encodes otherwise");
}

}  // namespace moe::fuzz
