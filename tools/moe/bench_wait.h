#pragma once
// How long this process's threads waited for a core: what other processes take from a timing.

#include <string>

namespace moe::tools {

/// Seconds that all threads of this process, together and since each began, were ready to run and
/// had no core: the second number of every TASKS/*/schedstat. Less than 0 where the system does
/// not say.
double seconds_waited_for_a_core(const std::string& tasks = "/proc/self/task");

}  // namespace moe::tools
