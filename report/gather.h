#pragma once
// From the folder of a run to what its report shows.

#include <moe/base/files.h>
#include <report/data.h>

namespace moe::report {

struct GatherOptions {
  /// Tokens of validation data that the newest checkpoint reads. -1: three for every hundred it was
  /// trained on, which cost about a hundredth of the training, but at least 8 rows of each domain
  /// and at most 65,536 tokens in all. 0: none, so that the report says nothing of routing.
  int64_t tokens = -1;
  /// The checkpoint to read; empty: the newest one of the run.
  Path checkpoint = {};
  /// Compare the checkpoint with its checksums first.
  bool verify = true;
  int64_t permutations = 1000;
  uint64_t seed = 1;
};

/// Whether a folder holds the pair that a comparison trained (moe/ and dense/, or seed-1/ … with
/// these) and not a run.
bool is_comparison(const Path& folder);

/// Everything a report of `folder` shows: a run, or a comparison. Runs the newest checkpoint over
/// validation data; writes nothing. What is not there, or cannot be read (no checkpoint, no
/// validation data, a dense model), becomes one of `notes`. Throws moe::Error only when the folder
/// holds neither configuration nor metrics of a run.
ReportData gather(const Path& folder, const GatherOptions& options = {});

}  // namespace moe::report
