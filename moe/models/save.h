#pragma once
// Models written without a run: what `moe convert` does.

#include <string>

#include <moe/models/load.h>

namespace moe::models {

/// Writes `model` as a checkpoint of our own: its [model] table, its tokenizer and its tensors as
/// they are. `folder` may be new, empty or a checkpoint, which is replaced whole.
void save_native(const LoadedModel& model, const Path& folder);

/// Writes `model` as a Hugging Face directory, which must be new or empty. A model that came from
/// one keeps its family, its config.json (but for the type of its tensors) and the files of its
/// tokenizer; another is written as one of `family`, with its tokenizer. Throws moe::Error listing
/// what config.json of the family cannot say.
void save_hugging_face(const LoadedModel& model, const Path& folder,
                       const std::string& family = "");

}  // namespace moe::models
