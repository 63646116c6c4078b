#include <cerrno>
#include <cstring>

#include <moe/base/error.h>
#include <moe/base/files.h>

namespace moe {

namespace {

const char* file_remedy(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return " The disk (or the quota) is full: free space there or choose another folder.";
    case EROFS:
      return " The file system is read-only: remount it writable or choose another folder.";
    case EACCES:
    case EPERM:
      return " Give this user the permission or choose another path.";
    case ENOENT:
      return " Check the path: it, or a folder above it, does not exist.";
    case ENOTDIR:
      return " Check the path: a part of it is a file, not a folder.";
    case EISDIR:
      return " Name a file, not a folder.";
    case EEXIST:
    case ENOTEMPTY:
      return " Move away what stands there or choose another name.";
    case EMFILE:
    case ENFILE:
      return " Too many files are open: raise the limit (ulimit -n).";
    case ENAMETOOLONG:
      return " Choose a shorter name.";
    case EFBIG:
      return " The file is larger than a limit (ulimit -f) or the file system allows.";
    case EIO:
      return " The device reports an error: check it before trusting what it holds.";
    case ENOMEM:
      return " Free memory or raise the limit (ulimit -v).";
    case EXDEV:
      return " Choose two paths on one file system.";
    default:
      return "";
  }
}

}  // namespace

void fail_file(std::string_view action, const Path& path, int error_number) {
  fail("base/files", "cannot ", action, " '", path.string(), "': ", std::strerror(error_number),
       '.', file_remedy(error_number));
}

void write_file(FileSystem& files, const Path& path, const Fill& fill) {
  const auto file = files.create(path);
  fill(*file);
  file->sync();
  file->close();
}

void write_file_atomically(FileSystem& files, const Path& path, const Fill& fill) {
  const Path temporary = folder_of(path) / (".tmp-" + path.filename().string());
  try {
    write_file(files, temporary, fill);
    files.rename(temporary, path);
  } catch (...) {
    try {
      if (files.exists(temporary)) files.remove(temporary);
    } catch (const Error&) {
      // The first error says more; the next write replaces the left-over.
    }
    throw;
  }
  files.sync_folder(folder_of(path));
}

std::string read_file(FileSystem& files, const Path& path, uint64_t limit) {
  const uint64_t size = files.size(path);
  check(size <= limit, "base/files", "expected at most ", limit, " bytes in '", path.string(),
        "', got ", size, ". Check that the path names the right file.");
  std::string content;
  content.reserve(size);
  files.read(path, [&](std::span<const std::byte> piece) {
    // It may have grown since it was measured.
    check(piece.size() <= limit - content.size(), "base/files", "expected at most ", limit,
          " bytes in '", path.string(), "', got more. Check that nothing is writing to it.");
    content.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return content;
}

void make_folders(FileSystem& files, const Path& path) {
  const auto kind = files.kind(path);
  if (kind == FileKind::kFolder || kind == FileKind::kLink) return;
  if (kind != FileKind::kNone) fail_file("make folder", path, ENOTDIR);
  const Path parent = folder_of(path);
  if (parent != path) make_folders(files, parent);
  files.make_folder(path);
  files.sync_folder(parent);
}

void remove_all(FileSystem& files, const Path& path) {
  if (files.kind(path) == FileKind::kFolder)
    for (const auto& name : files.list(path)) remove_all(files, path / name);
  files.remove(path);
}

Path folder_of(const Path& path) {
  Path parent = path.parent_path();
  // "a/b/" stands in "a", as "a/b" does.
  if (!path.has_filename() && parent != path.root_path()) parent = parent.parent_path();
  return parent.empty() ? Path(".") : parent;
}

}  // namespace moe
