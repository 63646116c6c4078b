#include "tools/moe/interruptible_files.h"

#include "tools/moe/signals.h"

namespace moe::tools {

namespace {

void stop_where_told() {
  if (const int signal = caught_signal(); signal != 0) throw Interrupted{signal};
}

class InterruptibleFile final : public OutputFile {
 public:
  explicit InterruptibleFile(std::unique_ptr<OutputFile> below) : below_(std::move(below)) {}

  void write(std::span<const std::byte> bytes) override {
    stop_where_told();
    below_->write(bytes);
  }
  void sync() override { below_->sync(); }
  void close() override { below_->close(); }

 private:
  std::unique_ptr<OutputFile> below_;
};

}  // namespace

std::unique_ptr<OutputFile> InterruptibleFiles::create(const Path& path) {
  stop_where_told();
  return std::make_unique<InterruptibleFile>(real_files().create(path));
}

bool InterruptibleFiles::make_folder(const Path& path) {
  stop_where_told();
  return real_files().make_folder(path);
}

}  // namespace moe::tools
