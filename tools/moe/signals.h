#pragma once

namespace moe::tools {

/// From now on the first SIGINT, SIGTERM or SIGUSR1 (which schedulers send ahead of a time limit)
/// is remembered instead of ending the process, so that a run can write its checkpoint; the second
/// ends it at once.
void catch_stop_signals();

/// The signal caught so far, or 0.
int caught_signal();

/// What a shell expects of a process ended by `signal`: 130 for SIGINT, 143 for SIGTERM.
int exit_status_of(int signal);

}  // namespace moe::tools
