// The POSIX side of files.h.

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <moe/base/error.h>
#include <moe/base/files.h>

namespace moe {

namespace {

/// Repeats a system call that a signal interrupted.
template <class Call>
auto uninterrupted(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result == -1 && errno == EINTR);
  return result;
}

/// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor(const Path& path, int flags, const char* action)
      : fd_(uninterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0666); })) {
    if (fd_ < 0) fail_file(action, path, errno);
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  operator int() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

class RealOutputFile final : public OutputFile {
 public:
  explicit RealOutputFile(const Path& path)
      : path_(path), fd_(path, O_WRONLY | O_CREAT | O_TRUNC, "create") {}

  void write(std::span<const std::byte> bytes) override {
    // One call moves at most about 2 GiB on Linux, and less near a full disk.
    while (!bytes.empty()) {
      const size_t count = std::min<size_t>(bytes.size(), size_t{1} << 30);
      const auto written = uninterrupted([&] { return ::write(fd_, bytes.data(), count); });
      if (written < 0) fail_file("write", path_, errno);
      bytes = bytes.subspan(static_cast<size_t>(written));
    }
  }

  void sync() override {
    if (uninterrupted([&] { return ::fsync(fd_); }) < 0) fail_file("sync", path_, errno);
  }

  void close() override {
    // Not repeated after EINTR: Linux has freed the descriptor by then.
    if (::close(fd_.release()) < 0 && errno != EINTR) fail_file("close", path_, errno);
  }

 private:
  Path path_;
  Descriptor fd_;
};

FileKind kind_of(mode_t mode) {
  if (S_ISREG(mode)) return FileKind::kFile;
  if (S_ISDIR(mode)) return FileKind::kFolder;
  return S_ISLNK(mode) ? FileKind::kLink : FileKind::kOther;
}

/// Size of the regular file behind `fd`. Devices and pipes are refused: reading them may never end.
uint64_t regular_size(int fd, const Path& path) {
  struct stat status;
  if (::fstat(fd, &status) < 0) fail_file("inspect", path, errno);
  if (S_ISDIR(status.st_mode)) fail_file("read", path, EISDIR);
  check(S_ISREG(status.st_mode), "base/files", "expected a file at '", path.string(),
        "', found a device or pipe. Name a file.");
  return static_cast<uint64_t>(status.st_size);
}

class RealFiles final : public FileSystem {
 public:
  std::unique_ptr<OutputFile> create(const Path& path) override {
    return std::make_unique<RealOutputFile>(path);
  }

  bool make_folder(const Path& path) override {
    if (::mkdir(path.c_str(), 0777) == 0) return true;
    const int error_number = errno;
    struct stat status;
    if (error_number == EEXIST && ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode))
      return false;
    fail_file("make folder", path, error_number);
  }

  void sync_folder(const Path& folder) override {
    const Descriptor fd(folder, O_RDONLY | O_DIRECTORY, "open folder");
    // EINVAL: a file system whose folders cannot be synced, and that orders renames itself.
    if (uninterrupted([&] { return ::fsync(fd); }) < 0 && errno != EINVAL)
      fail_file("sync folder", folder, errno);
  }

  void rename(const Path& from, const Path& to) override {
    if (std::rename(from.c_str(), to.c_str()) < 0)
      fail_file("rename to '" + to.string() + "' the path", from, errno);
  }

  bool exchange(const Path& a, const Path& b) override {
#ifdef RENAME_EXCHANGE
    if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
      fail_file("exchange with '" + b.string() + "' the path", a, errno);
#else
    static_cast<void>(a), static_cast<void>(b);
#endif
    return false;
  }

  void remove(const Path& path) override {
    const bool folder = kind(path) == FileKind::kFolder;
    if ((folder ? ::rmdir(path.c_str()) : ::unlink(path.c_str())) < 0)
      fail_file("remove", path, errno);
  }

  FileKind kind(const Path& path) override {
    struct stat status;
    if (::lstat(path.c_str(), &status) == 0) return kind_of(status.st_mode);
    if (errno != ENOENT && errno != ENOTDIR) fail_file("inspect", path, errno);
    return FileKind::kNone;
  }

  std::vector<std::string> list(const Path& folder) override {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(folder.c_str()), ::closedir);
    if (!stream) fail_file("list folder", folder, errno);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(stream.get())) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      errno = 0;
    }
    if (errno != 0) fail_file("list folder", folder, errno);
    std::sort(names.begin(), names.end());
    return names;
  }

  uint64_t size(const Path& file) override {
    // Non-blocking, or opening a pipe would wait for a writer.
    return regular_size(Descriptor(file, O_RDONLY | O_NONBLOCK, "open"), file);
  }

  void read(const Path& file,
            const std::function<void(std::span<const std::byte>)>& take) override {
    const Descriptor fd(file, O_RDONLY | O_NONBLOCK, "open");
    const uint64_t piece = std::clamp<uint64_t>(regular_size(fd, file), 1, uint64_t{1} << 20);
    std::vector<std::byte> buffer(piece);
    while (true) {
      const auto count = uninterrupted([&] { return ::read(fd, buffer.data(), buffer.size()); });
      if (count < 0) fail_file("read", file, errno);
      if (count == 0) return;
      take(std::span(buffer).first(static_cast<size_t>(count)));
    }
  }
};

}  // namespace

FileSystem& real_files() {
  static RealFiles files;
  return files;
}

std::shared_ptr<const MappedFile> MappedFile::open(const Path& path, Mapping mapping) {
  const Descriptor fd(path, O_RDONLY | O_NONBLOCK, "open");
  const size_t size = regular_size(fd, path);
  void* data = nullptr;
  if (size > 0) {
    // Without MAP_NORESERVE a file larger than memory would be refused, as if all of it were to be
    // written to.
    data = mapping == Mapping::kReadOnly
               ? ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0)
               : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (data == MAP_FAILED) fail_file("map", path, errno);
  }
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path, static_cast<const std::byte*>(data), size));
}

void MappedFile::release(size_t begin, size_t end) const {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  begin = (begin + page - 1) / page * page;
  end = std::min(end, size_) / page * page;
  // Memory is saved where the system takes the advice; nothing depends on it.
  if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (size_ > 0) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace moe
