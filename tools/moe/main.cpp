// The program `moe`. Everything that can go wrong ends here, as one line on standard error.

#include <fcntl.h>
#include <iostream>
#include <new>
#include <unistd.h>

#include <c10/util/Exception.h>

#include <moe/base/error.h>
#include <moe/base/memory.h>
#include <moe/parallel/mpi.h>

#include "tools/moe/command.h"
#include "tools/moe/ranks.h"
#include "tools/moe/usage.h"

namespace moe::tools {

CLI::App& add_group(CLI::App& parent, const char* name, const char* help, const char* example) {
  CLI::App& app = *parent.add_subcommand(name, help);
  app.footer(std::string("Example:\n  ") + example);
  app.require_subcommand(1);
  return app;
}

namespace {

/// Where the shell closed a standard stream, the next file would be opened in its place and get
/// what is printed. What stands there instead ends at once when read and refuses to be written to,
/// so that lost output is still noticed; lost messages need not be.
void fill_closed_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(stream, F_GETFD) == -1)
      static_cast<void>(::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY));
}

int run_program(int argc, char** argv) {
  fill_closed_streams();
  keep_freed_memory();
  CLI::App program("Mixture-of-Experts training, inference and study.", "moe");
  program.footer("Example:\n  moe inspect --list router");
  program.set_version_flag(
      "--version", [] { return concat("moe " MOE_VERSION "\nMPI: ", mpi_text()); },
      "print the version, and which MPI it has");
  program.require_subcommand(1);

  Session session;
  add_train(program, session);
  add_compare(program, session);
  add_eval(program, session);
  add_generate(program, session);
  add_forward(program, session);
  add_inspect(program, session);
  add_tokenize(program, session);
  add_convert(program, session);
  add_data(program, session);
  add_bench(program, session);
  add_analyze(program, session);
  add_diff(program, session);
  add_plan(program, session);
  add_place(program, session);
  add_study(program, session);
  add_completion(program, session);

  int status = 0;
  try {
    program.parse(argc, argv);
    if (!session.takes_ranks) refuse_ranks(session.command);
    status = session.run();
  } catch (const CLI::Success& help) {
    program.exit(help);
  } catch (const CLI::ParseError& error) {
    fail_usage(program, error);
  }
  // A full disk or a closed pipe must not look like success.
  std::cout.flush();
  check(std::cout.good(), "stdout",
        "expected to write all output, the last write failed. Check the "
        "disk that it goes to.");
  leave_ranks();
  return status;
}

/// Foreign messages may go on over many lines; ours keep their indented lists.
std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

int report_no_memory() {
  return report_error(
      1,
      "[memory] expected enough memory, the system gave none. Use a smaller model, batch "
      "or sequence.");
}

/// libtorch has no type of its own for memory that is not to be had on a CPU.
int report_libtorch(const c10::Error& error) {
  const std::string message = first_line(error.what_without_backtrace());
  for (const char* sign : {"can't allocate memory", "Storage size calculation overflowed"})
    if (message.find(sign) != std::string::npos) return report_no_memory();
  return report_error(1, "[libtorch] " + fit_to_show(message));
}

/// The exit status of the exception in flight.
int report_exception() {
  try {
    throw;
  } catch (const ConfigError& error) {
    return report_error(2, error.what());
  } catch (const parallel::RankFailure& error) {
    return report_error(1, error.what(), /*consequence=*/true);
  } catch (const Error& error) {
    return report_error(1, error.what());
  } catch (const c10::Error& error) {
    return report_libtorch(error);
  } catch (const NoMemory& error) {
    return report_error(1, error.what());
  } catch (const std::bad_alloc&) {
    return report_no_memory();
  } catch (const std::exception& error) {
    return report_error(1, "[moe] " + fit_to_show(first_line(error.what())));
  } catch (...) {
    return report_error(1, "[moe] an exception of an unknown kind. Please report it.");
  }
}

}  // namespace

}  // namespace moe::tools

int main(int argc, char** argv) {
  try {
    return moe::tools::run_program(argc, argv);
  } catch (...) {
    return moe::tools::report_exception();
  }
}
