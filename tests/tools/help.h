#pragma once
// What help pages say, for tests of them.

#include <sstream>
#include <string>
#include <vector>

#include "tests/support/run_program.h"

namespace moe::test {

inline std::string help_of(std::vector<std::string> command) {
  command.push_back("--help");
  return run_program(command).out;
}

/// The subcommands that a help page lists: its indented lines below "Subcommands:".
inline std::vector<std::string> subcommands_in(const std::string& help) {
  const std::string mark = "\nSubcommands:\n";
  std::vector<std::string> out;
  const size_t begin = help.find(mark);
  if (begin == std::string::npos) return out;
  std::istringstream lines(help.substr(begin + mark.size()));
  for (std::string line; std::getline(lines, line) && !line.empty();) {
    std::istringstream words(line);
    std::string name;
    if (line.rfind("   ", 0) != 0 && words >> name) out.push_back(name);
  }
  return out;
}

}  // namespace moe::test
