#pragma once
// What is wrong with a command line, in the words of the rest of the program.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace moe::tools {

/// Throws ConfigError with CLI11's complaint in our words. `program` tells which subcommand was
/// being read.
[[noreturn]] void fail_usage(const CLI::App& program, const CLI::ParseError& error);

/// Makes every option of `app` that takes a number refuse text that is none and numbers that do not
/// fit, which CLI11 takes for the largest one; and --out refuse "", what an unset variable of a
/// shell leaves, which would mean the current folder.
void check_values(CLI::App& app);

}  // namespace moe::tools
