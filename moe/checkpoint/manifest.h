#pragma once
// manifest.json: what a checkpoint folder must hold. A folder whose manifest verifies is whole.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <moe/base/files.h>

namespace moe::checkpoint {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr int64_t kManifestVersion = 1;

struct Manifest {
  struct File {
    uint64_t size = 0;
    uint64_t checksum = 0;  // XXH3-64
  };
  std::map<std::string, File> files;            // by plain name; the manifest itself is not listed
  std::map<std::string, std::string> metadata;  // free: step, model kind, …
};

/// Whether `name` can name a file of a checkpoint: no folder part, not hidden, no control
/// characters, not the manifest.
bool is_plain_name(std::string_view name);

/// The manifest as JSON, with its format version and a checksum of itself.
std::string format_manifest(const Manifest& manifest);

/// What format_manifest wrote; `origin` says in messages where it was. Throws moe::Error when it is
/// damaged, of a newer version, or names a file that is not plain.
Manifest parse_manifest(const std::string& text, const std::string& origin);

/// Reads `folder`'s manifest without looking at the other files. Throws moe::Error when it is
/// missing, damaged, of a newer version, or names a file that is not plain.
Manifest read_manifest(const Path& folder, FileSystem& files = real_files());

/// Reads the manifest and checks that exactly the files it lists are there with the right sizes;
/// throws moe::Error listing every missing, short, long and unlisted file. Reads no content.
Manifest check_sizes(const Path& folder, FileSystem& files = real_files());

/// As check_sizes, and reads all content to compare checksums.
Manifest verify_manifest(const Path& folder, FileSystem& files = real_files());

/// What verify_manifest would refuse, a line each; a manifest or file that cannot be read is one.
/// Empty for a whole checkpoint.
std::vector<std::string> damage_in(const Path& folder, FileSystem& files = real_files());

}  // namespace moe::checkpoint
