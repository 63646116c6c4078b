#pragma once
// Checkpoints with recognisable content, shared by the tests of publishing.

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <moe/base/random.h>
#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/steps.h>

namespace moe::checkpoint::published {

inline const std::vector<std::string> kFiles = {"config.toml", "optimizer.bin", "weights.bin"};

/// What file `name` of version `version` holds.
inline std::string content_of(const std::string& name, uint64_t version) {
  uint64_t state = hash_name(name) + version;
  std::string content(1000 + hash_name(name) % 5000, '\0');
  for (char& c : content) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    c = static_cast<char>(state >> 56);
  }
  return content;
}

inline void publish(FileSystem& files, const Path& target, uint64_t version) {
  Publication publication(target, files);
  for (const auto& name : kFiles)
    publication.add(name, [&](OutputFile& out) {
      const std::string content = content_of(name, version);
      out.write(bytes_of(content).first(700));
      out.write(bytes_of(content).subspan(700));
    });
  publication.finish({{"version", std::to_string(version)}});
}

/// The version of a checkpoint whose every byte is right; fails the test otherwise.
inline uint64_t whole_version(FileSystem& files, const Path& folder) {
  const auto manifest = verify_manifest(folder, files);
  const uint64_t version = std::stoull(manifest.metadata.at("version"));
  EXPECT_EQ(manifest.files.size(), kFiles.size());
  for (const auto& name : kFiles)
    EXPECT_EQ(read_file(files, folder / name, 1 << 20), content_of(name, version)) << name;
  return version;
}

inline bool has_leftovers(FileSystem& files, const Path& parent) {
  for (const auto& name : files.list(parent))
    if (name.front() == '.') return true;
  return false;
}

/// The version of the newest checkpoint, checked whole; 0 when there is none.
inline uint64_t latest_version(FileSystem& files, const Path& parent) {
  const auto latest = latest_checkpoint(parent, files);
  return latest ? whole_version(files, *latest) : 0;
}

/// The ways to publish version 2 while version 1 is there.
struct Scenario {
  std::string name;
  std::string target;  // version 1 is step-000001
  bool exchange;
};

inline const std::vector<Scenario> kScenarios = {
    {"new step", "step-000002", true},
    {"replace by exchange", "step-000001", true},
    {"replace by two renames", "step-000001", false},
};

}  // namespace moe::checkpoint::published
