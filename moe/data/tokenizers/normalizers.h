#pragma once
// The normalizer of a tokenizer.json: what becomes of text before it is divided.

#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include <moe/data/tokenizers/tokenizer_json.h>

namespace moe::data {

/// Immutable and thread-safe.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// `text` is UTF-8, and so is what comes of it.
  virtual std::string apply(std::string_view text) const = 0;
};

/// The normalizer that `object`, which stands at `where` in the file, describes: NFC, NFD, NFKC,
/// NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, Precompiled, Nmt, BertNormalizer,
/// ByteLevel or a Sequence of them. Null for null. Throws Error naming the place of what it is not.
std::unique_ptr<Normalizer> read_normalizer(const TokenizerJson& in, const nlohmann::json& object,
                                            const std::string& where);

}  // namespace moe::data
