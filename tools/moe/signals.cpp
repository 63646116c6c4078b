#include "tools/moe/signals.h"

#include <csignal>
#include <signal.h>

namespace moe::tools {

namespace {

// A signal handler can reach nothing but static storage.
volatile std::sig_atomic_t caught = 0;

void remember(int signal) {
  caught = signal;
}

}  // namespace

void catch_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = remember;
  // SA_RESETHAND: the second signal of a kind has its usual effect.
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
}

int caught_signal() {
  return caught;
}

int exit_status_of(int signal) {
  return 128 + signal;
}

}  // namespace moe::tools
