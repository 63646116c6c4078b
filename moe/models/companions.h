#pragma once
// What stands beside a model's weights and says how text goes in and comes out: the chat template,
// special tokens, the defaults of generation. Checkpoints of ours carry it as the files it came in.

#include <map>
#include <string>

#include <moe/base/files.h>
#include <moe/base/value.h>

namespace moe::models {

struct LoadedModel;

/// Contents by file name.
using Companions = std::map<std::string, std::string>;

/// What config.json of a Hugging Face directory says that our configurations have no word for.
struct Origin {
  /// Empty where it is not known.
  std::string family = {};
  /// bos_token_id, eos_token_id (one id or several) and pad_token_id, as far as they are there.
  Table tokens = {};
};

/// The file of checkpoints of ours that holds an Origin.
inline constexpr const char* kOriginFile = "origin.json";

/// Of a Hugging Face directory, or of a checkpoint that came from one, however many checkpoints
/// lie between; nothing of others. Throws moe::Error for a damaged file.
Origin read_origin(const Path& folder);

/// The family that the Origin among `companions` names; empty where there is none.
std::string family_in(const Companions& companions);

/// What a checkpoint carries of `folder`, a Hugging Face directory or a checkpoint: the files that
/// are there of generation_config.json, tokenizer_config.json, special_tokens_map.json,
/// added_tokens.json, chat_template.jinja and chat_template.json, and its Origin.
Companions companions_of(const Path& folder);
/// The same of the folder of a model, whose family is named also where the folder does not say.
Companions companions_of(const LoadedModel& model);

/// What a run carries that reads text with `tokenizer` (data.tokenizer) and starts from the weights
/// of `init`, a model's folder, or, where that is empty, anew. Tokens are known by their ids in one
/// vocabulary: beside another tokenizer than that of `init` only the family stays, and what stands
/// beside the tokenizer's own file takes the place of the rest, but for generation_config.json.
Companions companions_of_run(const std::string& tokenizer, const Path& init);

}  // namespace moe::models
