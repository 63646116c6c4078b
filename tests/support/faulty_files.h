#pragma once
// A file system that fails, or dies, at a chosen call.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moe/base/files.h>

namespace moe::test {

/// The power went. Not a moe::Error: nothing of the library may catch it.
struct Crash {};

/// Passes calls on, counts them, and asks `decide` before each what should happen to it.
class FaultyFiles final : public FileSystem {
 public:
  static constexpr int kPass = 0;
  static constexpr int kCrash = -1;  // this call and every later one throws Crash
  static constexpr int kSkip = -2;   // reports success and does nothing
  /// kPass, kCrash, kSkip or the errno value to fail with, for call number `index`.
  using Decide = std::function<int(size_t index, std::string_view call)>;

  FaultyFiles(FileSystem& below, Decide decide, bool after_effect = false)
      : below_(below), decide_(std::move(decide)), after_effect_(after_effect) {}

  size_t calls() const { return calls_; }
  bool exchange_supported = true;

  std::unique_ptr<OutputFile> create(const Path& path) override {
    std::unique_ptr<OutputFile> file;
    call("create", path, [&] { file = below_.create(path); });
    return std::make_unique<File>(*this, path, std::move(file));
  }
  bool make_folder(const Path& path) override {
    bool made = false;
    call("make_folder", path, [&] { made = below_.make_folder(path); });
    return made;
  }
  void sync_folder(const Path& folder) override {
    call("sync_folder", folder, [&] { below_.sync_folder(folder); });
  }
  void rename(const Path& from, const Path& to) override {
    call("rename", from, [&] { below_.rename(from, to); });
  }
  bool exchange(const Path& a, const Path& b) override {
    bool done = false;
    call("exchange", a, [&] { done = exchange_supported && below_.exchange(a, b); });
    return done;
  }
  void remove(const Path& path) override {
    call("remove", path, [&] { below_.remove(path); });
  }
  FileKind kind(const Path& path) override {
    auto kind = FileKind::kNone;
    call("kind", path, [&] { kind = below_.kind(path); });
    return kind;
  }
  std::vector<std::string> list(const Path& folder) override {
    std::vector<std::string> names;
    call("list", folder, [&] { names = below_.list(folder); });
    return names;
  }
  uint64_t size(const Path& file) override {
    uint64_t size = 0;
    call("size", file, [&] { size = below_.size(file); });
    return size;
  }
  void read(const Path& file,
            const std::function<void(std::span<const std::byte>)>& take) override {
    call("read", file, [&] { below_.read(file, take); });
  }

 private:
  class File final : public OutputFile {
   public:
    File(FaultyFiles& owner, Path path, std::unique_ptr<OutputFile> below)
        : owner_(owner), path_(std::move(path)), below_(std::move(below)) {}

    void write(std::span<const std::byte> bytes) override {
      // A write that fails may have written a part.
      const auto half = [&] { below_->write(bytes.first(bytes.size() / 2)); };
      owner_.call(
          "write", path_, [&] { below_->write(bytes); }, half);
    }
    void sync() override {
      owner_.call("sync", path_, [&] { below_->sync(); });
    }
    void close() override {
      owner_.call("close", path_, [&] { below_->close(); });
    }

   private:
    FaultyFiles& owner_;
    Path path_;
    std::unique_ptr<OutputFile> below_;
  };

  void call(std::string_view name, const Path& path, const std::function<void()>& effect,
            const std::function<void()>& part = {}) {
    if (crashed_) throw Crash{};
    const int fate = decide_(calls_++, name);
    if (fate == kSkip) return;
    if (fate == kPass) return effect();
    if (after_effect_)
      effect();
    else if (part)
      part();
    crashed_ = fate == kCrash;
    if (crashed_) throw Crash{};
    fail_file(name, path, fate);
  }

  FileSystem& below_;
  Decide decide_;
  bool after_effect_;
  size_t calls_ = 0;
  bool crashed_ = false;
};

}  // namespace moe::test
