#pragma once

#include <memory>

#include <moe/study/runner.h>

namespace moe::tools {

/// Runs of a study as processes of this program, `at_once` of them, which end when this one does.
/// What one prints goes to the file log.txt of its folder; the end of it is shown where it ended
/// without a result.
std::unique_ptr<study::Launcher> run_in_processes(int64_t at_once, int64_t threads);

/// What such a process does: trains the task of `folder`. Returns the exit status.
int run_study_task(const Path& folder);

}  // namespace moe::tools
