#pragma once

#include <string>
#include <vector>

#include <moe/base/files.h>
#include <moe/study/study.h>
#include <moe/study/task.h>

namespace moe::study {

struct StudyOptions {
  std::string name = {};
  int64_t seeds = 3;
  /// Kinds to compare, beside references; empty: all.
  std::vector<std::string> kinds = {};
  train::RunOptions base = {};
};

/// One run of a study and where it stands below the study's folder ("runs/topk/seed-1").
struct PlannedRun {
  size_t variant = 0;
  Path folder;
  Task task;
};

/// What a study trains, in the order in which it does: all variants with one seed, then with the
/// next, so that a study that was stopped compares all of them.
struct Plan {
  std::string name;
  int64_t seeds = 0;
  std::vector<Variant> variants = {};
  std::vector<PlannedRun> runs = {};
};

/// Throws ConfigError for an unknown study or kind, and for settings that do not fit. Tries every
/// variant on a few tokens.
Plan make_plan(const StudyOptions& options);

/// Throws ConfigError, listing what differs, where a result of an earlier call stands in
/// out/runs/… that was trained with other settings or data than planned.
void check_same_settings(const Plan& plan, const Path& out);

/// The result in `folder`, where there is one.
bool has_result(const Path& folder);
RunResult read_result(const Path& folder);

}  // namespace moe::study
