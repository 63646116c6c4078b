// Runs of a study, each in a process of its own: threads and the memory that is measured belong to
// a process, and two runs of one thread each do more on two cores than one run of two.
#include "tools/moe/study_processes.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <moe/base/log.h>

#include "tools/moe/signals.h"

namespace moe::tools {

namespace {

constexpr const char* kLogFile = "log.txt";
constexpr auto kWait = std::chrono::milliseconds(200), kLook = std::chrono::milliseconds(20);
constexpr size_t kShownOfLog = 600;
constexpr uint64_t kMostLogBytes = uint64_t{64} << 20;

/// The environment with `threads` threads for libraries that ask it.
std::vector<std::string> environment_with(int64_t threads) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry; ++entry)
    if (std::strncmp(*entry, "OMP_NUM_THREADS=", 16) != 0) out.emplace_back(*entry);
  out.push_back(concat("OMP_NUM_THREADS=", threads));
  return out;
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (auto& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

class Processes final : public study::Launcher {
 public:
  Processes(int64_t at_once, int64_t threads) : at_once_(at_once), threads_(threads) {}
  ~Processes() override { end_all(); }

  int64_t at_once() const override { return at_once_; }

  void start(const Path& folder) override {
    const std::string log = (folder / kLogFile).string();
    std::vector<std::string> words = {"moe", "study", "--run", folder.string()},
                             environment = environment_with(threads_);
    auto arguments = pointers_to(words), entries = pointers_to(environment);
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log.c_str(),
                                       O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    pid_t process = 0;
    const int failed = ::posix_spawn(&process, "/proc/self/exe", &files, nullptr, arguments.data(),
                                     entries.data());
    ::posix_spawn_file_actions_destroy(&files);
    check(failed == 0, "study", "expected to start a process for ", folder.string(),
          ", the system said: ", std::strerror(failed), ". Lower --parallel.");
    running_[process] = folder;
  }

  std::optional<Path> wait() override {
    const auto end = std::chrono::steady_clock::now() + kWait;
    do {
      for (const auto& [process, folder] : running_) {
        int status = 0;
        if (::waitpid(process, &status, WNOHANG) != process) continue;
        const Path over = folder;
        running_.erase(process);
        if (status != 0 && caught_signal() == 0 && !study::has_result(over)) show(over, status);
        return over;
      }
      std::this_thread::sleep_for(kLook);
    } while (std::chrono::steady_clock::now() < end);
    return std::nullopt;
  }

  void stop() override { end_all(); }

 private:
  /// How a run was lost: what it printed last.
  static void show(const Path& folder, int status) {
    std::string text = read_file(real_files(), folder / kLogFile, kMostLogBytes);
    if (text.size() > kShownOfLog) text = "…" + text.substr(text.size() - kShownOfLog);
    const std::string how = WIFSIGNALED(status) ? concat("signal ", WTERMSIG(status))
                                                : concat("status ", WEXITSTATUS(status));
    log::warn(fit_to_show(concat(folder.string(), " ended with ", how, ": ", text)));
  }

  void end_all() {
    for (const auto& [process, folder] : running_) ::kill(process, SIGTERM);
    for (const auto& [process, folder] : running_) ::waitpid(process, nullptr, 0);
    running_.clear();
  }

  int64_t at_once_, threads_;
  std::map<pid_t, Path> running_;
};

}  // namespace

std::unique_ptr<study::Launcher> run_in_processes(int64_t at_once, int64_t threads) {
  return std::make_unique<Processes>(at_once, threads);
}

int run_study_task(const Path& folder) {
  // A study that is killed takes its runs along, at once: the next one begins them anew in the same
  // folders.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  catch_stop_signals();
  return study::execute(folder, caught_signal) ? 0 : exit_status_of(caught_signal());
}

}  // namespace moe::tools
