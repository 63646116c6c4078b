#pragma once
// Tokenizers that come as a tiktoken vocabulary: Kimi's tiktoken.model, the first Qwen's
// qwen.tiktoken.

#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include <moe/data/tokenizer.h>
#include <moe/data/tokenizers/tokenizer_settings.h>

namespace moe::data {

/// The tokenizer of a tiktoken vocabulary, with the ids of the package tiktoken. The file holds
/// neither the pattern that divides text nor special tokens: those are of the model's own code, by
/// `tokenizer_class` of the settings (TikTokenTokenizer: Kimi, with the tokens that the settings
/// name behind the vocabulary; QWenTokenizer, or a file of the name qwen.tiktoken). Throws Error
/// for another class and for a file that is damaged.
std::shared_ptr<const Tokenizer> read_tiktoken(std::string_view bytes, const std::string& name,
                                               const TokenizerSettings& settings);

/// A document of the model type "tiktoken", which is this library's own, as a tokenizer.json of
/// byte-level BPE that other programs read: with the merges that make the tokens. Where one token
/// can be made of different pairs that overlap (as "aaa" in "aaaa"), those may choose another.
std::string published_tiktoken(const nlohmann::json& document);

}  // namespace moe::data
