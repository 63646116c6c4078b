#pragma once
// From the text of a tokenizer.json to a tokenizer.

#include <memory>
#include <string>

#include <moe/data/tokenizer.h>
#include <moe/data/tokenizers/tokenizer_settings.h>

namespace moe::data {

/// The tokenizer of a tokenizer.json, whose content is `text`; `name` is what messages call it.
/// Throws Error for what is no tokenizer this library reads.
std::shared_ptr<const Tokenizer> parse_tokenizer(std::string text, const std::string& name,
                                                 const TokenizerSettings& settings = {});

}  // namespace moe::data
