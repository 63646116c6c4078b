#pragma once
// A small SentencePiece model for tests, as the bytes of its file.

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <moe/data/tokenizers/sentencepiece_model.h>

namespace moe::test {

inline std::string sentencepiece_number(int field, uint64_t value) {
  std::string out(1, static_cast<char>(field << 3 & 0x7F));
  if (field >= 16)
    out = {static_cast<char>((field << 3 & 0x7F) | 0x80), static_cast<char>(field >> 4)};
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  return out + static_cast<char>(value);
}

inline std::string sentencepiece_bytes(int field, std::string_view bytes) {
  std::string out = sentencepiece_number(field, bytes.size());
  out[0] = static_cast<char>(out[0] | 2);
  return out.append(bytes);
}

/// The file of a model with these pieces; scores fall with the place of a piece.
inline std::string sentencepiece_file(const std::vector<data::SentencePiece>& pieces,
                                      data::SentencePieceModel::Kind kind, bool byte_fallback) {
  std::string out;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const float score = -static_cast<float>(i);
    std::string bits(4, '\0');
    std::memcpy(bits.data(), &score, 4);
    out +=
        sentencepiece_bytes(1, sentencepiece_bytes(1, pieces[i].text) + std::string("\x15") + bits +
                                   sentencepiece_number(3, static_cast<uint64_t>(pieces[i].type)));
  }
  return out + sentencepiece_bytes(2, sentencepiece_number(3, static_cast<uint64_t>(kind)) +
                                          sentencepiece_number(35, byte_fallback));
}

/// <unk>, <s>, </s>, with `byte_fallback` the 256 bytes, then "▁", letters, and parts of
/// "▁the cat" and "▁日本".
inline std::string tiny_sentencepiece(data::SentencePieceModel::Kind kind, bool byte_fallback) {
  using Type = data::SentencePiece::Type;
  std::vector<data::SentencePiece> pieces = {
      {"<unk>", 0, Type::kUnknown}, {"<s>", 0, Type::kControl}, {"</s>", 0, Type::kControl}};
  for (int byte = 0; byte < 256 && byte_fallback; ++byte) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    pieces.push_back({std::string("<0x") + kDigits[static_cast<size_t>(byte >> 4)] +
                          kDigits[static_cast<size_t>(byte & 15)] + '>',
                      0, Type::kByte});
  }
  for (const char* text : {"▁t", "he", "▁the", "▁c", "at", "▁cat", "日本", "▁日本", "▁", "t", "h",
                           "e", "c", "a", "日", "本", ".", "s"})
    pieces.push_back({text});
  return sentencepiece_file(pieces, kind, byte_fallback);
}

}  // namespace moe::test
