#pragma once
// generation_config.json: how a model's authors let it write.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <moe/base/files.h>
#include <moe/generation/generate.h>

namespace moe::generation {

/// What the file says; everything else is left as it is.
struct GenerationConfig {
  /// Whether to draw; false: always the likeliest token, as transformers does where a file says
  /// nothing of it. None without a file.
  std::optional<bool> do_sample;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k, max_tokens;
  std::vector<int64_t> end_tokens;

  /// Sets those fields of `options` whose names `given` does not hold; the ends of a text always.
  /// Where do_sample is false the temperature becomes 0, unless `given` holds a field that means
  /// draws: temperature, top_k, top_p or min_p.
  void apply(GenerateOptions& options, const std::vector<std::string>& given) const;
};

/// Of the text of a generation_config.json, which `source` names in messages. Keys that have no
/// meaning here are passed over. Throws Error for a text that is no JSON, for values that a key
/// cannot have, and for ids above 2^31.
GenerationConfig parse_generation_config(std::string_view text, const std::string& source);

/// Of the generation_config.json in `folder`, a Hugging Face directory or a checkpoint of ours,
/// which carries it; nothing where there is none. Where it names no end of a text, the eos_token_id
/// of config.json ends it. Throws Error as parse_generation_config does, for either file.
GenerationConfig read_generation_config(const Path& folder);

}  // namespace moe::generation
