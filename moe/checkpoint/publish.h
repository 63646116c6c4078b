#pragma once
// Writing a checkpoint folder so that whoever opens it finds an old one whole or the new one whole,
// wherever the process was killed or the power went.
//
//   Publication publication("out/checkpoints/step-000100");
//   publication.add("model.safetensors", [&](OutputFile& out) { formats::write_safetensors(out,
//   tensors); }); publication.finish({{"step", "100"}});
//
// Files are written and synced in the sibling ".tmp-<name>", the manifest last; then the folder
// takes its name in one step (or swaps places with the one that had it) and the parent is synced.
// Where the file system cannot swap, the old folder is ".old-<name>" for an instant:
// `locate_checkpoint` finds it there.

#include <map>
#include <string>

#include <moe/base/files.h>
#include <moe/checkpoint/manifest.h>

namespace moe::checkpoint {

/// Files of a checkpoint that one rank writes into the folder of its publication. The first failure
/// makes it useless.
class FolderWriter {
 public:
  explicit FolderWriter(Path folder, FileSystem& files = real_files())
      : files_(files), folder_(std::move(folder)) {}
  FolderWriter(const FolderWriter&) = delete;
  FolderWriter& operator=(const FolderWriter&) = delete;

  /// Writes and syncs one file. `name` must be plain (is_plain_name) and new.
  void add(const std::string& name, const Fill& fill);
  /// What was written, with nothing half-way.
  const std::map<std::string, Manifest::File>& written() const { return written_; }

 protected:
  FileSystem& files_;
  Path folder_;
  std::map<std::string, Manifest::File> written_;
  bool whole_ = true;  // no file failed half-way
};

/// A checkpoint being written. One at a time for a parent folder: starting one clears what crashed
/// ones left there
/// (".tmp-" and ".old-" of this name and of step folders). Destroyed before `finish`, it leaves
/// nothing behind.
class Publication : public FolderWriter {
 public:
  /// Throws moe::Error when something other than a checkpoint or an empty folder stands at
  /// `target`.
  explicit Publication(const Path& target, FileSystem& files = real_files());
  ~Publication();

  /// Where files are written until the checkpoint is whole: other ranks' FolderWriters write there
  /// too.
  const Path& folder() const { return folder_; }
  /// Makes files that others wrote into `folder` part of the checkpoint. Throws moe::Error where
  /// one is not there with the size they said, or has the name of another.
  void accept(const std::map<std::string, Manifest::File>& files);
  /// Writes the manifest and makes the checkpoint visible under its name. Call it once, last. After
  /// an exception the old checkpoint or the new one is there, whole.
  void finish(std::map<std::string, std::string> metadata);

 private:
  void take_place();

  Path parent_;
  std::string name_;
  bool placing_ = false;  // from here on the temporary folder may be the old checkpoint
};

/// Where a Publication at `target` has its files until it is whole.
Path temporary_folder(const Path& target);

/// Where the checkpoint named `target` is: there, or in its ".old-" sibling after a crash in
/// mid-replacement. Throws moe::Error when it is in neither.
Path locate_checkpoint(const Path& target, FileSystem& files = real_files());

}  // namespace moe::checkpoint
