// A checkpoint's manifest.json, and the check of a folder against it.

#include <nlohmann/json.hpp>

#include <moe/checkpoint/checksum.h>
#include <moe/checkpoint/manifest.h>

#include "tests/fuzz/targets.h"
#include "tests/support/memory_files.h"

namespace moe::fuzz {

namespace {

/// The input behind its first byte; when that is odd, with the checksum of itself put right, which
/// no mutation would hit.
std::string manifest_text(std::string_view input) {
  const bool repair = !input.empty() && (input[0] & 1);
  std::string text(input.substr(input.empty() ? 0 : 1));
  if (!repair ||
      std::count(text.begin(), text.end(), '[') + std::count(text.begin(), text.end(), '{') > 64)
    return text;
  auto root = nlohmann::json::parse(text, nullptr, false);
  if (!root.is_object()) return text;
  root.erase("checksum");
  const auto dumped = root.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  root["checksum"] = checkpoint::checksum_text(checkpoint::checksum_of(dumped));
  return root.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void write(FileSystem& files, const Path& path, std::string_view text) {
  write_file(files, path, [&](OutputFile& out) { out.write(bytes_of(text)); });
}

bool same(const checkpoint::Manifest& a, const checkpoint::Manifest& b) {
  const auto equal = [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.size == y.second.size &&
           x.second.checksum == y.second.checksum;
  };
  return a.metadata == b.metadata &&
         std::equal(a.files.begin(), a.files.end(), b.files.begin(), b.files.end(), equal);
}

}  // namespace

void manifest(Bytes input) {
  test::MemoryFiles files;
  const Path folder = "/checkpoint";
  files.make_folder(folder);
  write(files, folder / checkpoint::kManifestName, manifest_text(text_of(input)));

  checkpoint::Manifest read;
  if (!accepts([&] { read = checkpoint::read_manifest(folder, files); })) return;
  write(files, folder / checkpoint::kManifestName, checkpoint::format_manifest(read));
  require(same(checkpoint::read_manifest(folder, files), read), "the manifest changed");

  // Files of the promised size and other content, unless there are none to check.
  bool small = true;
  for (const auto& [name, file] : read.files) {
    small = small && file.size < 4096;
    write(files, folder / name, std::string(small ? file.size : 1, 'x'));
  }
  require(accepts([&] { checkpoint::check_sizes(folder, files); }) == small,
          "the sizes of files are not what the check says");
  const bool verified = accepts([&] { checkpoint::verify_manifest(folder, files); });
  const uint64_t empty = checkpoint::checksum_of("");
  for (const auto& [name, file] : read.files)
    require(!verified || file.size > 0 || file.checksum == empty, "a wrong checksum passed");
}

}  // namespace moe::fuzz
