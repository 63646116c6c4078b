#pragma once
// SentencePiece's way with spaces, as a pre-tokenizer and a decoder have it.

#include <string>

#include <moe/data/tokenizers/components.h>

namespace moe::data {

struct Metaspace {
  enum class Prepend { kAlways, kFirst, kNever };
  std::string replacement = "\xE2\x96\x81";  // "▁", which stands for a space
  Prepend prepend = Prepend::kAlways;
  bool split = true;
};

/// In both spellings: "prepend_scheme", or "add_prefix_space" as older files have it.
inline Metaspace read_metaspace(const TokenizerJson& in, const nlohmann::json& object,
                                const std::string& where) {
  check_component(in, object, where,
                  {"replacement", "str_rep", "prepend_scheme", "add_prefix_space", "split"});
  Metaspace out;
  if (object.contains("replacement")) out.replacement = in.string_at(object, where, "replacement");
  if (out.replacement.empty()) in.refuse(where + "replacement", "a character", "none");
  out.split = in.bool_or(object, where, "split", true);
  if (!in.bool_or(object, where, "add_prefix_space", true))
    out.prepend = Metaspace::Prepend::kNever;
  if (!object.contains("prepend_scheme")) return out;
  const std::string& scheme = in.string_at(object, where, "prepend_scheme");
  if (scheme == "always")
    out.prepend = Metaspace::Prepend::kAlways;
  else if (scheme == "first")
    out.prepend = Metaspace::Prepend::kFirst;
  else if (scheme == "never")
    out.prepend = Metaspace::Prepend::kNever;
  else
    in.refuse(where + "prepend_scheme", "always, first or never", formats::in_quotes(scheme));
  return out;
}

}  // namespace moe::data
