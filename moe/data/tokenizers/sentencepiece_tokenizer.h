#pragma once
// A lone SentencePiece model (tokenizer.model) as a tokenizer.

#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include <moe/data/tokenizer.h>
#include <moe/data/tokenizers/tokenizer_settings.h>

namespace moe::data {

/// The tokenizer of the model in `bytes`, a byte-pair encoding or a unigram model, with the ids and
/// texts of the library sentencepiece. Around a text stand BOS and EOS as `settings` say; without
/// them BOS for byte-pair encodings, EOS for unigram models (as Llama and T5 have it). The texts of
/// these tokens, and T5's sentinels, are found in text as tokens. Throws Error for another file.
std::shared_ptr<const Tokenizer> read_sentencepiece(std::string_view bytes, const std::string& name,
                                                    const TokenizerSettings& settings);

/// The same from a tokenizer_json() of such a tokenizer, which holds the model in base64; null for
/// any other document.
std::shared_ptr<const Tokenizer> read_wrapped_sentencepiece(const nlohmann::json& document,
                                                            const std::string& name);

}  // namespace moe::data
