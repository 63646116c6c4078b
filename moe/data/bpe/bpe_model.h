#pragma once
// A byte-level BPE vocabulary: what a tokenizer.json says, checked.

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace moe::data {

/// The pair of tokens that becomes one. A merge's rank is its place in the list.
struct BpeMerge {
  uint32_t left, right, result;
};

/// Text that is one token wherever it occurs, found before the rest is divided into words.
struct AddedToken {
  uint32_t id;
  std::string text;
  /// Left out of plain text (padding, end of text).
  bool special = true;
  /// Looked for only in what the others left.
  bool normalized = false;
  /// Found only where no letter, digit or the like stands beside it.
  bool single_word = false;
  /// Takes the white space before it, behind it, along.
  bool lstrip = false, rstrip = false;
};

struct BpeModel {
  /// Bytes of every token by id. The 256 single bytes are among them.
  std::vector<std::string> tokens;
  std::vector<BpeMerge> merges;
  std::vector<AddedToken> added;
  /// A space is put before text that does not begin with one.
  bool add_prefix_space = false;
  /// Text is divided into GPT-2's words; without, all of it is one word.
  bool use_regex = true;
  /// A word that is a token is that token, whatever merges would make of it.
  bool ignore_merges = false;

  /// Throws Error unless every merge makes the token of its two tokens' bytes, added tokens have
  /// the bytes of their text, and every byte has a token.
  void validate(const std::string& source) const;
  /// Id of every byte's token, by byte; for a validated model.
  std::vector<uint32_t> byte_ids() const;
  /// Whether each id is an added token.
  std::vector<bool> is_added() const;
};

/// The content of a tokenizer.json as the Python package `tokenizers` writes it: model BPE,
/// pre-tokenizer and decoder ByteLevel, no normalizer; merges as pairs or as "left right". `source`
/// names the file in messages. Throws Error naming the place in the file for anything else: what is
/// not implemented is refused by name, never passed over.
BpeModel parse_tokenizer_json(std::string_view text, const std::string& source);
/// The same of a document that has been parsed.
BpeModel read_bpe_model(const nlohmann::json& document, const std::string& source);

/// The model as a tokenizer.json that `tokenizers` 0.20 and later opens (merges are pairs).
/// parse_tokenizer_json reads the same model back.
std::string write_tokenizer_json(const BpeModel& model);

}  // namespace moe::data
