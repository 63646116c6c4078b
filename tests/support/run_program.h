#pragma once
// Runs a program, above all the built one (the compile definition MOE_PROGRAM), as a process of its
// own.

#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <vector>

#include "tests/support/temporary_folder.h"

namespace moe::test {

struct ProgramResult {
  int status = -1;  // 128 + the signal when one ended it
  std::string out, err;
};

/// `program ARGUMENTS…` with `input` on its standard input.
inline ProgramResult run_process(const char* program, const std::vector<std::string>& arguments,
                                 const std::string& input = "") {
  TemporaryFolder folder;
  const std::string in = folder / "in", out = folder / "out", err = folder / "err";
  std::ofstream(in) << input;
  std::vector<char*> words = {const_cast<char*>(program)};
  for (const auto& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, in.c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, out.c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&files, 2, err.c_str(), O_WRONLY | O_CREAT, 0600);
  pid_t process = 0;
  const int failed = ::posix_spawn(&process, program, &files, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (failed != 0) throw std::runtime_error(std::string("cannot start ") + program);
  int code = 0;
  ::waitpid(process, &code, 0);

  const auto content = [](const std::string& path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  return {WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code), content(out), content(err)};
}

/// `moe ARGUMENTS…` with `input` on its standard input.
inline ProgramResult run_program(const std::vector<std::string>& arguments,
                                 const std::string& input = "") {
  return run_process(MOE_PROGRAM, arguments, input);
}

}  // namespace moe::test
