// A training process that is killed or told to stop, and what is left of its run.

#include <chrono>
#include <csignal>
#include <thread>

#include <gtest/gtest.h>

#include <moe/config/toml.h>

#include "tests/support/run_program.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

/// A run of 60 steps with a checkpoint every 10, as a configuration file.
struct Training {
  TemporaryFolder folder;
  Path config = folder.path() / "run.toml";

  Training() {
    auto options = tiny_run(folder.path());
    options.train.steps = 60;
    options.train.checkpoint_every = 10;
    options.train.eval_every = 0;
    std::ofstream(config) << config::write_toml(train::resolved(options));
  }

  std::vector<std::string> command(const std::string& out, bool resume = false) const {
    std::vector<std::string> words = {
        "train", config.string(), "--out", (folder.path() / out).string(), "--threads", "1"};
    if (resume) words.push_back("--resume");
    return words;
  }

  /// Sends `signal` once `steps` steps are logged; returns how the process ended.
  int interrupt(const std::string& out, int signal, int64_t steps) const {
    auto words = command(out);
    std::vector<char*> arguments = {const_cast<char*>(MOE_PROGRAM)};
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t process = 0;
    if (::posix_spawn(&process, MOE_PROGRAM, nullptr, nullptr, arguments.data(), environ) != 0)
      return -1;
    int code = 0;
    while (logged(out) < steps) {
      if (::waitpid(process, &code, WNOHANG) == process) return -1;  // ended before it was told to
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ::kill(process, signal);
    ::waitpid(process, &code, 0);
    return WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
  }

  int64_t logged(const std::string& out) const {
    std::ifstream in(folder.path() / out / "metrics.jsonl");
    int64_t lines = 0;
    for (std::string line; std::getline(in, line);) ++lines;
    return lines;
  }
};

class Interrupted : public testing::TestWithParam<int> {};

TEST_P(Interrupted, TrainingEndsAfterResumeAsIfNothingHadHappened) {
  const Training training;
  ASSERT_EQ(run_program(training.command("whole")).status, 0);
  ASSERT_EQ(training.interrupt("cut", GetParam(), 14), 128 + GetParam());
  // The checkpoint of step 10 at least; SIGTERM and SIGINT write one more.
  ASSERT_TRUE(
      checkpoint::latest_checkpoint(training.folder.path() / "cut" / "checkpoints").has_value());
  const auto resumed = run_program(training.command("cut", true));
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_EQ(tensor_files(training.folder.path() / "whole"),
            tensor_files(training.folder.path() / "cut"));
}
INSTANTIATE_TEST_SUITE_P(Signals, Interrupted, testing::Values(SIGKILL, SIGTERM, SIGINT));

}  // namespace
}  // namespace moe::test
