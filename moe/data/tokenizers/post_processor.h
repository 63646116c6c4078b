#pragma once
// The post-processor of a tokenizer.json: the tokens that stand before and behind a text.

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <moe/data/tokenizers/tokenizer_json.h>

namespace moe::data {

struct TextFrame {
  std::vector<uint32_t> before, behind;
};

/// What `object` puts around a single text: TemplateProcessing, BertProcessing, RobertaProcessing,
/// ByteLevel (nothing) or a Sequence of them; null is nothing. Throws Error naming the place of
/// what it is not, and for ids not below `vocabulary`.
TextFrame read_post_processor(const TokenizerJson& in, const nlohmann::json& object,
                              const std::string& where, size_t vocabulary);

}  // namespace moe::data
