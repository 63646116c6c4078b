#pragma once

#include <functional>
#include <string>

#include <moe/base/files.h>
#include <moe/study/result.h>
#include <moe/train/run.h>

namespace moe::study {

/// One training of a study: all that decides what it computes.
struct Task {
  std::string variant = {};
  int64_t seed = 1;
  /// Router biases of the first `favoured` experts of every MoE layer start this much higher.
  double skew = 0;
  int64_t favoured = 0;
  /// What the files of the data held, by their names in `run`.
  std::string sources = {};
  train::RunOptions run = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("variant", variant, "what is trained");
    v("seed", seed, "of parameters, data order and noise");
    v("skew", skew, "how much higher the router biases of the favoured experts start");
    v("favoured", favoured, "experts whose router bias starts higher");
    v("sources", sources, "what the data's files held");
    v("run", run, "the training");
  }
};

/// The task as it stands in a folder: with every default filled in.
Table table_of(const Task& task);

/// Files of a run's folder.
inline constexpr const char* kTaskFile = "task.toml";
inline constexpr const char* kResultFile = "result.json";

/// Writes `task` to folder/task.toml; the folders above are made.
void write_task(const Task& task, const Path& folder);
Task read_task(const Path& folder);

/// Trains what folder/task.toml says, anew whatever an earlier call left, and writes what came out
/// to folder/result.json, whole or not at all; metrics stay in folder/run. A training that the
/// library refuses or that fails is a result too: its `failure` says why. Nothing is written when
/// `stop` ended it; false then.
///
/// One call a process at a time: threads and the memory that is measured are process-wide.
bool execute(
    const Path& folder, const std::function<int()>& stop = [] { return 0; });

}  // namespace moe::study
