#pragma once
// The files outside a run's folder that decide what it computes: guarded by content, free to move.
// What a model reads from files when it starts is in its checkpoints, and needs no guard.

#include <moe/data/batch.h>
#include <moe/data/source_record.h>
#include <moe/train/run.h>
#include <moe/train/state.h>

namespace moe::train {

/// What the files of the data hold now, by setting. A file that is not there is left out: whoever
/// needs it says so.
data::SourceRecords record_sources(const RunOptions& options);

/// What a run that goes on from `checkpoint` reads text with: data.tokenizer, or, where its file is
/// not there any more, the checkpoint's own. Throws ConfigError where data.tokenizer makes other
/// tokens; where its file is and what it is called does not matter.
std::string tokenizer_for(const RunOptions& options, const Path& checkpoint);

inline constexpr const char* kConfigFile = "config.toml";

/// What the checkpoints of a run hold beside tensors: its configuration, what its data held
/// (`sources`), its tokenizer, and what stands beside the weights and tokenizer that it starts
/// with, which a run that goes on `from` a checkpoint finds in that.
CheckpointTexts checkpoint_texts(const RunOptions& options, const data::Dataset& dataset,
                                 const data::SourceRecords& sources,
                                 const std::optional<Path>& from);

/// Throws ConfigError, listing the settings whose files hold something else `now` than when
/// `checkpoint` was written; with controls.allow_changed_data rank 0 warns of them instead, as it
/// does when the checkpoint does not say.
void check_same_sources(const RunOptions& options, const data::SourceRecords& now,
                        const Path& checkpoint, const RunControls& controls);

}  // namespace moe::train
