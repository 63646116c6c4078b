#pragma once
// The files outside a run's folder that decide what it computes: guarded by content, free to move.
// What a model reads from files when it starts is in its checkpoints, and needs no guard.

#include <moe/data/source_record.h>
#include <moe/train/run.h>

namespace moe::train {

/// What the files of the data hold now, by setting. A file that is not there is left out: whoever
/// needs it says so.
data::SourceRecords record_sources(const RunOptions& options);

/// Throws ConfigError unless data.tokenizer makes the tokens that `checkpoint` was trained on.
/// Where its file is and what it is called does not matter.
void check_same_tokenizer(const RunOptions& options, const Path& checkpoint);

/// Throws ConfigError, listing the settings whose files hold something else `now` than when
/// `checkpoint` was written; with controls.allow_changed_data rank 0 warns of them instead, as it
/// does when the checkpoint does not say.
void check_same_sources(const RunOptions& options, const data::SourceRecords& now,
                        const Path& checkpoint, const RunControls& controls);

}  // namespace moe::train
