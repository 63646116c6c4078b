#pragma once
// Writing that a signal stops between two pieces, so that whoever writes takes back what is half
// done.

#include <moe/base/files.h>

namespace moe::tools {

/// Thrown where a signal was caught; no moe::Error, for nothing has failed.
struct Interrupted {
  int signal = 0;
};

/// The machine's files; making and writing them throws Interrupted from the first caught signal on
/// (signals.h). What takes back what was written goes on.
class InterruptibleFiles final : public FileSystem {
 public:
  std::unique_ptr<OutputFile> create(const Path& path) override;
  bool make_folder(const Path& path) override;
  void sync_folder(const Path& folder) override { real_files().sync_folder(folder); }
  void rename(const Path& from, const Path& to) override { real_files().rename(from, to); }
  bool exchange(const Path& a, const Path& b) override { return real_files().exchange(a, b); }
  void remove(const Path& path) override { real_files().remove(path); }
  FileKind kind(const Path& path) override { return real_files().kind(path); }
  std::vector<std::string> list(const Path& folder) override { return real_files().list(folder); }
  uint64_t size(const Path& file) override { return real_files().size(file); }
  void read(const Path& file,
            const std::function<void(std::span<const std::byte>)>& take) override {
    real_files().read(file, take);
  }
};

}  // namespace moe::tools
