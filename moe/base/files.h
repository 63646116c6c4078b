#pragma once
// Files behind an interface small enough to be imitated: tests put a layer in between that fails at
// any call or forgets what was not synced. `real_files()` is the machine's own file system (POSIX).
// Everything here throws moe::Error with the path, the system's reason and a remedy.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

using Path = std::filesystem::path;

enum class FileKind { kNone, kFile, kFolder, kLink, kOther };

/// A new file being written from front to back. Destroying it without `close` drops errors, so call
/// `close`.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  virtual void write(std::span<const std::byte> bytes) = 0;
  /// Returns when the content has reached the disk (fsync).
  virtual void sync() = 0;
  virtual void close() = 0;
};

/// The calls that the rest of the library is allowed to make. Implementations hold no open state
/// between calls.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  /// Opens `path` for writing; what it held is lost.
  virtual std::unique_ptr<OutputFile> create(const Path& path) = 0;
  /// Makes one folder; false when it exists already.
  virtual bool make_folder(const Path& path) = 0;
  /// Returns when creations, renames and removals in `folder` have reached the disk.
  virtual void sync_folder(const Path& folder) = 0;
  /// Moves atomically; an existing file or empty folder at `to` is replaced.
  virtual void rename(const Path& from, const Path& to) = 0;
  /// Swaps two existing names atomically; false (and nothing done) where the file system cannot.
  virtual bool exchange(const Path& a, const Path& b) = 0;
  /// Removes a file, a link (not what it points to) or an empty folder.
  virtual void remove(const Path& path) = 0;

  /// What stands at `path` itself; links are not followed.
  virtual FileKind kind(const Path& path) = 0;
  /// Names in `folder`, sorted.
  virtual std::vector<std::string> list(const Path& folder) = 0;
  virtual uint64_t size(const Path& file) = 0;
  /// Hands the content of `file` to `take` in pieces.
  virtual void read(const Path& file,
                    const std::function<void(std::span<const std::byte>)>& take) = 0;

  bool exists(const Path& path) { return kind(path) != FileKind::kNone; }
};

/// The file system of this machine. Stateless; may be used from any thread.
FileSystem& real_files();

/// Writes the content of a file; called once.
using Fill = std::function<void(OutputFile&)>;

/// Creates `path`, fills it and syncs it. A failure may leave part of it behind.
void write_file(FileSystem& files, const Path& path, const Fill& fill);
/// As write_file, but `path` holds its old content or all of the new one, whatever happens.
void write_file_atomically(FileSystem& files, const Path& path, const Fill& fill);
/// The whole content of `path`; throws when it has more than `limit` bytes.
std::string read_file(FileSystem& files, const Path& path, uint64_t limit);
/// Makes `path` and the folders above it, each synced into its parent.
void make_folders(FileSystem& files, const Path& path);
/// Removes `path` and everything in it; links are removed, not followed.
void remove_all(FileSystem& files, const Path& path);
/// The folder that `path` stands in ("." for a bare name).
Path folder_of(const Path& path);

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// Throws "[base/files] cannot <action> '<path>': <reason of errno value>. <remedy>".
[[noreturn]] void fail_file(std::string_view action, const Path& path, int error_number);

/// What writing into mapped memory does.
enum class Mapping {
  kReadOnly,     // a segmentation fault
  kCopyOnWrite,  // changes this process's memory, a page at a time, and never the file
};

/// A file mapped into memory. Reading a part that another process cut off meanwhile is a
/// segmentation fault. Pages are read on first use and shared between processes until they are
/// written to.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const Path& path,
                                                Mapping mapping = Mapping::kReadOnly);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  /// Lets go of the whole pages of bytes [begin, end): they are no longer counted as memory of this
  /// process, and are read again when they are used again, without what was written into them.
  void release(size_t begin, size_t end) const;
  const Path& path() const { return path_; }

 private:
  MappedFile(Path path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  Path path_;
  const std::byte* data_;
  size_t size_;
};

}  // namespace moe
