#pragma once
// tokenizer_config.json: what a model's authors say of its tokenizer beside the tokenizer's file.

#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <moe/base/files.h>
#include <moe/data/bpe/bpe_model.h>

namespace moe::data {

struct TokenizerSettings {
  std::string begin_of_text, end_of_text, unknown, padding;  // empty: none
  std::optional<bool> adds_begin, adds_end;
  std::string tokenizer_class;
  std::optional<int64_t> extra_ids;  // sentinels of T5
  std::vector<AddedToken> added;     // added_tokens_decoder

  /// The id of end_of_text among `added`; of a usual name (<|endoftext|>, <|end_of_text|>, </s>,
  /// <eos>) where the settings name none.
  std::optional<int64_t> find_end_of_text(std::span<const AddedToken> added) const;
};

/// Of the tokenizer_config.json in `folder`; nothing where there is none. Throws Error for a file
/// that is no JSON.
TokenizerSettings read_tokenizer_settings(const Path& folder);
/// The same of a document that has been parsed.
TokenizerSettings settings_of(const nlohmann::json& document);
/// A document that settings_of reads the same from.
nlohmann::json json_of_settings(const TokenizerSettings& settings);

}  // namespace moe::data
