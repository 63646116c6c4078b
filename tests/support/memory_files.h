#pragma once
// A file system in memory that knows what has reached the disk, so that a power cut can be played:
// what was not synced may survive or not. A copy is a snapshot.

#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <moe/base/files.h>

namespace moe::test {

/// Model of a crash, as journaling file systems behave at their worst:
///  - file content that was not synced is there, absent, cut in half, or garbage;
///  - of the changes to one folder since its last sync, a prefix survives;
///  - folders and files choose independently of each other.
class MemoryFiles final : public FileSystem {
 public:
  MemoryFiles() : nodes_(1) { nodes_[0].folder = true; }

  /// Cuts the power. `choose(n)` in [0, n) picks each outcome; 0 is always "nothing unsynced
  /// survived".
  void crash(const std::function<size_t(size_t)>& choose) {
    for (auto& node : nodes_) {
      node.entries = node.synced_entries;
      const size_t survivors = choose(node.pending.size() + 1);
      for (size_t i = 0; i < survivors; ++i) node.pending[i](node.entries);
      node.synced_entries = node.entries;
      node.pending.clear();
      if (node.content == node.synced) continue;
      switch (choose(5)) {
        case 0:
          node.content = node.synced;
          break;
        case 1:
          break;
        case 2:
          node.content.clear();
          break;
        case 3:
          node.content.resize(node.content.size() / 2);
          break;
        case 4:
          node.content.assign(node.content.size(), '\xa5');
          break;
      }
      node.synced = node.content;
    }
  }

  std::unique_ptr<OutputFile> create(const Path& path) override {
    const size_t parent = folder("create", path.parent_path());
    const std::string name = path.filename();
    const auto found = nodes_[parent].entries.find(name);
    size_t id = nodes_.size();
    if (found == nodes_[parent].entries.end()) {
      nodes_.emplace_back();
      change(parent, [=](Entries& entries) { entries[name] = id; });
    } else {
      id = found->second;
      if (nodes_[id].folder) fail_file("create", path, EISDIR);
      nodes_[id].content.clear();
    }
    return std::make_unique<File>(*this, id);
  }

  bool make_folder(const Path& path) override {
    const size_t parent = folder("make folder", path.parent_path());
    if (const auto id = find(path)) {
      if (!nodes_[*id].folder) fail_file("make folder", path, EEXIST);
      return false;
    }
    const size_t id = nodes_.size();
    nodes_.emplace_back().folder = true;
    change(parent, [=, name = path.filename().string()](Entries& entries) { entries[name] = id; });
    return true;
  }

  void sync_folder(const Path& path) override {
    Node& node = nodes_[folder("sync folder", path)];
    node.synced_entries = node.entries;
    node.pending.clear();
  }

  void rename(const Path& from, const Path& to) override {
    const size_t parent = siblings(from, to);
    const size_t id = existing("rename", from);
    if (const auto target = find(to)) {
      if (nodes_[*target].folder != nodes_[id].folder) fail_file("rename", from, ENOTDIR);
      if (!nodes_[*target].entries.empty()) fail_file("rename", from, ENOTEMPTY);
    }
    change(parent, [=, a = from.filename().string(), b = to.filename().string()](Entries& entries) {
      entries.erase(a);
      entries[b] = id;
    });
  }

  bool exchange(const Path& a, const Path& b) override {
    const size_t parent = siblings(a, b);
    const size_t id_a = existing("exchange", a), id_b = existing("exchange", b);
    change(parent, [=, a = a.filename().string(), b = b.filename().string()](Entries& entries) {
      entries[a] = id_b;
      entries[b] = id_a;
    });
    return true;
  }

  void remove(const Path& path) override {
    if (!nodes_[existing("remove", path)].entries.empty()) fail_file("remove", path, ENOTEMPTY);
    change(folder("remove", path.parent_path()),
           [name = path.filename().string()](Entries& entries) { entries.erase(name); });
  }

  FileKind kind(const Path& path) override {
    const auto id = find(path);
    if (!id) return FileKind::kNone;
    return nodes_[*id].folder ? FileKind::kFolder : FileKind::kFile;
  }

  std::vector<std::string> list(const Path& path) override {
    std::vector<std::string> names;
    for (const auto& entry : nodes_[folder("list", path)].entries) names.push_back(entry.first);
    return names;
  }

  uint64_t size(const Path& file) override { return nodes_[existing("open", file)].content.size(); }

  void read(const Path& file,
            const std::function<void(std::span<const std::byte>)>& take) override {
    take(bytes_of(nodes_[existing("open", file)].content));
  }

 private:
  using Entries = std::map<std::string, size_t>;

  struct Node {
    bool folder = false;
    std::string content, synced;
    Entries entries, synced_entries;
    std::vector<std::function<void(Entries&)>> pending;  // since the last sync, in order
  };

  class File final : public OutputFile {
   public:
    File(MemoryFiles& owner, size_t id) : owner_(owner), id_(id) {}
    void write(std::span<const std::byte> bytes) override {
      owner_.nodes_[id_].content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    void sync() override { owner_.nodes_[id_].synced = owner_.nodes_[id_].content; }
    void close() override {}

   private:
    MemoryFiles& owner_;
    size_t id_;
  };

  void change(size_t folder, std::function<void(Entries&)> apply) {
    apply(nodes_[folder].entries);
    nodes_[folder].pending.push_back(std::move(apply));
  }

  std::optional<size_t> find(const Path& path) const {
    size_t id = 0;
    for (const auto& part : path.lexically_normal()) {
      if (part == "/" || part == "." || part.empty()) continue;
      const auto found = nodes_[id].entries.find(part.string());
      if (found == nodes_[id].entries.end()) return std::nullopt;
      id = found->second;
    }
    return id;
  }

  size_t existing(std::string_view action, const Path& path) const {
    const auto id = find(path);
    if (!id) fail_file(action, path, ENOENT);
    return *id;
  }

  size_t folder(std::string_view action, const Path& path) const {
    const size_t id = existing(action, path);
    if (!nodes_[id].folder) fail_file(action, path, ENOTDIR);
    return id;
  }

  size_t siblings(const Path& a, const Path& b) const {
    if (a.parent_path() != b.parent_path())
      throw std::logic_error("the model knows renames within one folder only");
    return folder("rename", a.parent_path());
  }

  std::vector<Node> nodes_;
};

}  // namespace moe::test
