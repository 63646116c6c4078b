#include <atomic>
#include <cstdio>
#include <mutex>
#include <string>
#include <sys/ioctl.h>
#include <unistd.h>

#include <moe/base/log.h>

namespace moe::log {

namespace {

// The one place with process-wide state: standard error is one stream, and lines must not be torn.
std::mutex mutex;
std::string status;
std::atomic<bool> quiet{false};
std::atomic<bool> silent{false};

/// `text` cut to one column less than the terminal has, so that it stays one row. One column a
/// code point.
std::string fitted(std::string_view text) {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return std::string(text);
  int columns = size.ws_col - 1;
  size_t end = 0;
  while (end < text.size()) {
    const bool begins = (static_cast<unsigned char>(text[end]) & 0xC0) != 0x80;
    if (begins && columns-- == 0) break;
    ++end;
  }
  return std::string(text.substr(0, end));
}

void write_line(std::string_view prefix, std::string_view text) {
  std::lock_guard lock(mutex);
  const char* erase = status.empty() ? "" : "\r\x1b[K";
  std::fprintf(stderr, "%s%.*s%.*s\n%s", erase, static_cast<int>(prefix.size()), prefix.data(),
               static_cast<int>(text.size()), text.data(), status.c_str());
  std::fflush(stderr);
}

}  // namespace

void info(std::string_view text) {
  if (!quiet && !silent) write_line("", text);
}

void warn(std::string_view text) {
  if (!silent) write_line("warning: ", text);
}

void set_quiet(bool value) {
  quiet = value;
}

void set_silent(bool value) {
  silent = value;
}

bool is_terminal() {
  return isatty(STDERR_FILENO) == 1;
}

void status_line(std::string_view text) {
  if (silent) return;
  std::lock_guard lock(mutex);
  if (text.empty() && status.empty()) return;
  status = fitted(text);
  std::fprintf(stderr, "\r\x1b[K%s", status.c_str());
  std::fflush(stderr);
}

}  // namespace moe::log
