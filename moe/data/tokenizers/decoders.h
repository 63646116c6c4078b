#pragma once
// The decoder of a tokenizer.json: how the texts of tokens become text.

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <moe/data/tokenizers/tokenizer_json.h>

namespace moe::data {

/// Immutable and thread-safe.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Changes the texts in place; what is left of them follows one another without a gap.
  virtual void apply(std::vector<std::string>& texts) const = 0;
};

struct Decoders {
  std::vector<std::unique_ptr<Decoder>> steps;
  /// The decoder is null: texts are joined by spaces.
  bool none = true;
  /// It is ByteLevel alone: every token is bytes whatever stands beside it.
  bool byte_level = false;
};

/// The decoder that `object` describes: ByteLevel, Metaspace, ByteFallback, Fuse, Strip, Replace,
/// WordPiece, BPEDecoder, CTC or a Sequence of them. Throws Error naming the place of what it is
/// not.
Decoders read_decoder(const TokenizerJson& in, const nlohmann::json& object,
                      const std::string& where);

/// The bytes of a token spelled in GPT-2's letters; its text as it is when some letter is none.
std::string bytes_of_letters(const std::string& text);

}  // namespace moe::data
