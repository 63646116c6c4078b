#pragma once
// How a subcommand joins the program: one file, one function `add_NAME`, one call in main.cpp.

#include <functional>
#include <memory>
#include <string>

#include "tools/moe/usage.h"

namespace moe::tools {

/// What the chosen subcommand does once the whole command line has been understood.
struct Session {
  std::function<int()> run;  // returns the exit status
  std::string command;       // its name
  bool takes_ranks = false;
};

/// A subcommand whose settings live in an `Options`.
template <class Options>
struct Command {
  const char* name;
  const char* help;
  /// A line that works as it stands; `--help` ends with it.
  const char* example;
  /// Declares options and arguments that fill `Options`.
  void (*setup)(CLI::App& app, Options& options);
  /// Returns the exit status; throws ConfigError for wrong usage (2), anything else for failure
  /// (1).
  int (*run)(const Options& options);
  /// Whether it may be started as several ranks; others are refused then.
  bool takes_ranks = false;
};

/// Adds a subcommand without work of its own: a group of others, one of which must be chosen.
CLI::App& add_group(CLI::App& parent, const char* name, const char* help, const char* example);

template <class Options>
CLI::App& add_command(CLI::App& parent, Session& session, const Command<Options>& command) {
  CLI::App& app = add_group(parent, command.name, command.help, command.example);
  app.require_subcommand(0);
  const auto options = std::make_shared<Options>();
  command.setup(app, *options);
  check_values(app);
  app.callback([&session, options, command] {
    session.run = [options, run = command.run] { return run(*options); };
    session.command = command.name;
    session.takes_ranks = command.takes_ranks;
  });
  return app;
}

void add_train(CLI::App& program, Session& session);
void add_compare(CLI::App& program, Session& session);
void add_eval(CLI::App& program, Session& session);
void add_generate(CLI::App& program, Session& session);
void add_forward(CLI::App& program, Session& session);
void add_inspect(CLI::App& program, Session& session);
void add_tokenize(CLI::App& program, Session& session);
void add_convert(CLI::App& program, Session& session);
void add_data(CLI::App& program, Session& session);
void add_bench(CLI::App& program, Session& session);
void add_analyze(CLI::App& program, Session& session);
void add_diff(CLI::App& program, Session& session);
void add_plan(CLI::App& program, Session& session);
void add_place(CLI::App& program, Session& session);
void add_study(CLI::App& program, Session& session);
void add_completion(CLI::App& program, Session& session);

}  // namespace moe::tools
