#pragma once
// Models written without a run: what `moe convert` does.

#include <optional>
#include <string>

#include <moe/base/files.h>
#include <moe/models/load.h>

namespace moe::models {

/// Writes `model` as a checkpoint of our own: its [model] table, its tokenizer and its tensors as
/// they are. `folder` may be new, empty or a checkpoint, which is replaced whole.
void save_native(const LoadedModel& model, const Path& folder);

/// Writes `model` as a Hugging Face directory, which must be new or empty. A model that came from
/// one keeps its family, its config.json (but for the type of its tensors, which are plain) and the
/// files of its tokenizer; its tensors are named and laid as they were, and what stood beside them
/// (other modalities, layers that predict further tokens) comes along. Another is written as one of
/// `family`, with its tokenizer, tokenizer_config.json and generation_config.json; one that was
/// trained on from a directory, with that directory's tokenizer, with the files of that. Throws
/// moe::Error listing what config.json of the family cannot say.
void save_hugging_face(const LoadedModel& model, const Path& folder,
                       const std::string& family = "");

/// The Hugging Face directory that a model of our own was trained on from (train.init), where it is
/// there still.
std::optional<Path> origin_of(const LoadedModel& model);

}  // namespace moe::models
