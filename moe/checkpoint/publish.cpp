#include <utility>
#include <vector>

#include <moe/base/error.h>
#include <moe/base/log.h>
#include <moe/checkpoint/checksum.h>
#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/steps.h>

namespace moe::checkpoint {

namespace {

constexpr std::string_view kPublishPlace = "checkpoint/publish";

/// Hashes what passes through to the file below.
class HashingFile final : public OutputFile {
 public:
  explicit HashingFile(OutputFile& below) : below_(below) {}

  void write(std::span<const std::byte> bytes) override {
    below_.write(bytes);
    size_ += bytes.size();
    checksum_.update(bytes);
  }
  void sync() override { below_.sync(); }
  void close() override { below_.close(); }

  Manifest::File entry() const { return {size_, checksum_.value()}; }

 private:
  OutputFile& below_;
  uint64_t size_ = 0;
  Checksum checksum_;
};

std::string name_of(const Path& target) {
  const std::string name =
      (target.has_filename() ? target : target.parent_path()).filename().string();
  check(is_plain_name(name), kPublishPlace,
        "expected a checkpoint folder with a plain name that is not hidden, got '", target.string(),
        "'. Choose a name such as 'step-000100'.");
  return name;
}

void refuse_foreign_folder(FileSystem& files, const Path& target) {
  const auto kind = files.kind(target);
  const bool replaceable = kind == FileKind::kNone ||
                           (kind == FileKind::kFolder &&
                            (files.exists(target / kManifestName) || files.list(target).empty()));
  check(replaceable, kPublishPlace, "expected nothing, an empty folder or a checkpoint at '",
        target.string(),
        "', got something else, which would be lost. Move it or choose another name.");
}

/// Undoes or completes what a crash left in `parent`.
void clear_leftovers(FileSystem& files, const Path& parent, const std::string& name) {
  std::vector<std::string> old_names, removable;
  for (const auto& entry : files.list(parent)) {
    const bool temporary = entry.starts_with(kTemporaryPrefix);
    if (!temporary && !entry.starts_with(kOldPrefix)) continue;
    const std::string base = entry.substr(temporary ? kTemporaryPrefix.size() : kOldPrefix.size());
    // Other hidden names in a folder that may be anybody's are not ours to remove.
    if (base != name && !parse_step(base)) continue;
    if (temporary || files.exists(parent / base))
      removable.push_back(entry);
    else
      old_names.push_back(base);
  }
  for (const auto& base : old_names) files.rename(parent / concat(kOldPrefix, base), parent / base);
  if (old_names.empty() && removable.empty()) return;
  // A rename of the earlier attempt may not be on disk yet, and what it replaced is among these.
  files.sync_folder(parent);
  for (const auto& entry : removable) remove_all(files, parent / entry);
}

}  // namespace

void FolderWriter::add(const std::string& name, const Fill& fill) {
  check(is_plain_name(name) && !written_.contains(name), kPublishPlace,
        "expected a plain file name that is new to checkpoint folder '", folder_.string(),
        "', got '", name, "'. Rename the file.");
  whole_ = false;
  Manifest::File entry;
  write_file(files_, folder_ / name, [&](OutputFile& out) {
    HashingFile hashing(out);
    fill(hashing);
    entry = hashing.entry();
  });
  written_[name] = entry;
  whole_ = true;
}

Publication::Publication(const Path& target, FileSystem& files)
    : FolderWriter(temporary_folder(target), files),
      parent_(folder_of(target)),
      name_(name_of(target)) {
  make_folders(files_, parent_);
  clear_leftovers(files_, parent_, name_);
  refuse_foreign_folder(files_, parent_ / name_);
  files_.make_folder(folder_);
}

Publication::~Publication() {
  if (placing_) return;
  try {
    if (files_.exists(folder_)) remove_all(files_, folder_);
  } catch (...) {
    // Nothing more can be done here: the next publication removes it.
  }
}

void Publication::accept(const std::map<std::string, Manifest::File>& files) {
  for (const auto& [name, file] : files) {
    check(is_plain_name(name) && !written_.contains(name), kPublishPlace,
          "expected file names of one rank each in checkpoint '", name_, "', got '", name,
          "' from two. Give tensors names of their own.");
    const Path path = folder_ / name;
    const bool there = files_.kind(path) == FileKind::kFile;
    check(there && files_.size(path) == file.size, kPublishPlace, "expected '", path.string(),
          "' with ", file.size, " bytes that another rank wrote, found ",
          there ? concat(files_.size(path), " bytes") : std::string("nothing"),
          ". Let all ranks write to one file system.");
    written_[name] = file;
  }
}

void Publication::finish(std::map<std::string, std::string> metadata) {
  check(
      whole_ && !placing_, kPublishPlace, "expected every file of checkpoint '", name_,
      "' written, and one finish, got a failed file or a second finish. Begin a new publication.");
  const std::string text = format_manifest({written_, std::move(metadata)});
  write_file(files_, folder_ / kManifestName, [&](OutputFile& out) { out.write(bytes_of(text)); });
  files_.sync_folder(folder_);
  placing_ = true;
  take_place();
}

void Publication::take_place() {
  const Path target = parent_ / name_;
  Path replaced;
  if (!files_.exists(target)) {
    files_.rename(folder_, target);
  } else if (files_.exchange(folder_, target)) {
    replaced = folder_;
  } else {
    replaced = parent_ / concat(kOldPrefix, name_);
    files_.rename(target, replaced);
    files_.rename(folder_, target);
  }
  // Before the old one goes: a rename that is not on disk yet may be undone by a power cut.
  files_.sync_folder(parent_);
  if (replaced.empty()) return;
  try {
    remove_all(files_, replaced);
  } catch (const Error& error) {
    log::warn(concat("the replaced checkpoint could not be removed; the next save tries again. ",
                     error.what()));
  }
}

Path temporary_folder(const Path& target) {
  return folder_of(target) / concat(kTemporaryPrefix, name_of(target));
}

Path locate_checkpoint(const Path& target, FileSystem& files) {
  const std::string name = name_of(target);
  const Path parent = folder_of(target);
  for (const Path& path : {parent / name, parent / concat(kOldPrefix, name)})
    if (files.exists(path)) return path;
  fail(kPublishPlace, "expected a checkpoint folder at '", target.string(),
       "', got nothing. Check the path.");
}

}  // namespace moe::checkpoint
