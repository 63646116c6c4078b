#include "tools/moe/bench_wait.h"

#include <filesystem>
#include <fstream>

namespace moe::tools {

double seconds_waited_for_a_core(const std::string& tasks) {
  double nanoseconds = 0;
  bool found = false;
  std::error_code error;
  // A thread may end meanwhile: its file is then not there, which is no error.
  for (std::filesystem::directory_iterator task(tasks, error), end; !error && task != end;
       task.increment(error)) {
    std::ifstream file(task->path() / "schedstat");
    double ran = 0, waited = 0;
    if (!(file >> ran >> waited)) continue;
    nanoseconds += waited;
    found = true;
  }
  return found ? 1e-9 * nanoseconds : -1;
}

}  // namespace moe::tools
