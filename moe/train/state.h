#pragma once

#include <limits>
#include <map>
#include <string>
#include <vector>

#include <moe/base/files.h>
#include <moe/parallel/layout.h>
#include <moe/train/optimizer.h>

namespace moe::train {

/// What a run remembers beside its tensors; kept in the checkpoint's manifest.
struct RunRecord {
  int64_t step = 0;                                             // optimizer steps done
  int64_t tokens = 0;                                           // trained on so far
  double seconds = 0;                                           // spent training so far
  double last_loss = std::numeric_limits<double>::quiet_NaN();  // of the last evaluation
  int64_t last_evaluation = -1;                                 // its step; -1: none yet
  double best_loss = 0;
  int64_t best_step = -1;  // -1: not evaluated yet
  int64_t evaluations_since_best = 0;
  int64_t bad_steps = 0;   // not finite, in a row
  int64_t bad_until = 0;   // the step behind the last of them
  int64_t data_shift = 0;  // batches passed over by rollbacks
  std::vector<int64_t> unused_steps = {};

  std::map<std::string, std::string> to_metadata() const;
  /// Throws moe::Error for a missing or malformed entry.
  static RunRecord from_metadata(const std::map<std::string, std::string>& metadata);
};

/// The texts of a checkpoint, by file name: config.toml, sources.json, tokenizer.json when there is
/// one, and the model's companions (models/companions.h).
using CheckpointTexts = std::map<std::string, std::string>;

/// Writes everything a run needs to go on: `texts`, the model's tensors, the optimizer's state, the
/// record. All ranks call it, and each writes what it holds (checkpoint/together.h). A crash, or a
/// rank that fails, leaves the previous checkpoints usable.
void save_checkpoint(const Path& folder, const CheckpointTexts& texts,
                     const torch::nn::Module& model, const Optimizer& optimizer,
                     const RunRecord& record, const parallel::Layout& layout = {},
                     FileSystem& files = real_files());

/// Restores what save_checkpoint wrote, bit for bit, on any layout of ranks.
RunRecord load_checkpoint(const Path& folder, const torch::nn::Module& model,
                          const Optimizer& optimizer, const parallel::Layout& layout = {});

}  // namespace moe::train
