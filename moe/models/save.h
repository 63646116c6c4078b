#pragma once
// Models written without a run: what `moe convert` does.

#include <string>

#include <moe/base/files.h>
#include <moe/models/load.h>

namespace moe::models {

/// Writes `model` as a checkpoint of our own: its [model] table, its tokenizer, its companions
/// (companions.h) and its tensors as they are. `folder` may be new, empty or a checkpoint, which is
/// replaced whole.
void save_native(const LoadedModel& model, const Path& folder, FileSystem& files = real_files());

/// Writes `model` as a Hugging Face directory, which must be new or empty. A model that came from
/// one keeps its family, its config.json (but for the type of its tensors, which are plain) and the
/// files of its tokenizer; its tensors are named and laid as they were, and what stood beside them
/// (other modalities, layers that predict further tokens) comes along. Another is written as one of
/// `family`, with its tokenizer and its companions: token ids in config.json,
/// generation_config.json, tokenizer_config.json and the chat template as they were in the
/// directory that it comes from; what is not known of them is made from the tokenizer. Throws
/// moe::Error listing what config.json of the family cannot say.
void save_hugging_face(const LoadedModel& model, const Path& folder, const std::string& family = "",
                       FileSystem& files = real_files());

}  // namespace moe::models
