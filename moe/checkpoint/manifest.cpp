#include <algorithm>
#include <set>
#include <vector>

#include <moe/base/error.h>
#include <moe/checkpoint/checksum.h>
#include <moe/checkpoint/manifest.h>
#include <moe/formats/strict_json.h>

namespace moe::checkpoint {

namespace {

using formats::in_quotes;
using nlohmann::json;

constexpr std::string_view kManifestPlace = "checkpoint/manifest";
constexpr std::string_view kManifestFormat = "moe-checkpoint";
constexpr uint64_t kMaxManifest = uint64_t{1} << 26;
constexpr std::string_view kUseAnother = " Use another checkpoint, or copy this one again.";

/// A member of `parent` that must be there with a type `is` accepts.
template <class Accepts>
const json& manifest_member(const json& parent, const char* key, Accepts accepts,
                            const std::string& expectation, const std::string& origin) {
  const auto found = parent.find(key);
  check(found != parent.end() && accepts(*found), kManifestPlace, "expected '", key, "' of ",
        origin, " to be ", expectation, ", got ",
        found == parent.end() ? "nothing" : found->type_name(), '.', kUseAnother);
  return *found;
}

constexpr auto kIsObject = [](const json& value) { return value.is_object(); };
constexpr auto kIsString = [](const json& value) { return value.is_string(); };
constexpr auto kIsNatural = [](const json& value) { return value.is_number_unsigned(); };

uint64_t checksum_member(const json& parent, const std::string& origin, const char* key) {
  const auto& text = manifest_member(parent, key, kIsString, "16 hexadecimal digits", origin)
                         .get_ref<const std::string&>();
  const auto value = parse_checksum(text);
  check(value.has_value(), kManifestPlace, "expected '", key, "' of ", origin,
        " to be 16 hexadecimal digits, got ", in_quotes(text), '.', kUseAnother);
  return *value;
}

json manifest_json(const Manifest& manifest) {
  json files = json::object();
  for (const auto& [name, file] : manifest.files)
    files[name] = {{"size", file.size}, {"xxh3_64", checksum_text(file.checksum)}};
  return {{"format", kManifestFormat},
          {"version", kManifestVersion},
          {"metadata", manifest.metadata},
          {"files", std::move(files)}};
}

/// What is wrong with the file `name`, or "".
std::string file_problem(const Path& folder, const std::string& name, const Manifest::File& file,
                         FileSystem& files, bool read_content) {
  const Path path = folder / name;
  const auto kind = files.kind(path);
  if (kind == FileKind::kNone) return name + ": missing";
  if (kind != FileKind::kFile) return name + ": not a regular file";
  const uint64_t size = files.size(path);
  if (size != file.size) return concat(name, ": ", size, " bytes, expected ", file.size);
  if (!read_content) return "";
  Checksum checksum;
  files.read(path, [&](std::span<const std::byte> piece) { checksum.update(piece); });
  if (checksum.value() == file.checksum) return "";
  return concat(name, ": corrupt (checksum ", checksum_text(checksum.value()), ", expected ",
                checksum_text(file.checksum), ')');
}

/// A line for each file that differs from the manifest.
std::vector<std::string> problems_of(const Path& folder, const Manifest& manifest,
                                     FileSystem& files, bool read_content) {
  std::vector<std::string> problems;
  for (const auto& [name, file] : manifest.files)
    if (auto problem = file_problem(folder, name, file, files, read_content); !problem.empty())
      problems.push_back(std::move(problem));
  for (const auto& name : files.list(folder))
    if (name != kManifestName && !manifest.files.contains(name))
      problems.push_back(in_quotes(name) + ": not listed in the manifest");
  return problems;
}

Manifest inspect_folder(const Path& folder, FileSystem& files, bool read_content) {
  Manifest manifest = read_manifest(folder, files);
  const auto problems = problems_of(folder, manifest, files, read_content);
  if (!problems.empty())
    fail(kManifestPlace, "expected the files of checkpoint '", folder.string(),
         "' to match its manifest, got ", problems.size(), " that differ.", kUseAnother,
         indented_list(problems));
  return manifest;
}

}  // namespace

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 200 && name.front() != '.' && name != kManifestName &&
         std::none_of(name.begin(), name.end(), [](char c) {
           return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
         });
}

std::string format_manifest(const Manifest& manifest) {
  try {
    json root = manifest_json(manifest);
    root["checksum"] = checksum_text(checksum_of(root.dump()));
    return root.dump(2) + '\n';
  } catch (const json::exception& error) {
    fail(kManifestPlace, "expected file names and metadata in UTF-8, got ", error.what(),
         ". Rename it.");
  }
}

Manifest parse_manifest(const std::string& text, const std::string& origin) {
  const json root = formats::parse_strict_json(text, kManifestPlace, origin, {.depth = 3});
  const auto& format = manifest_member(root, "format", kIsString, "a string", origin);
  check(format == kManifestFormat, kManifestPlace, "expected the format of ", origin, " to be '",
        kManifestFormat, "', got ", in_quotes(format.get_ref<const std::string&>()),
        ". Name a checkpoint folder.");
  const auto& version = manifest_member(root, "version", kIsNatural, "a whole number", origin);
  check(version == kManifestVersion, kManifestPlace, "expected version ", kManifestVersion, " of ",
        origin, ", got ", version.get<uint64_t>(), ". Use the version of moe that wrote it.");

  Manifest manifest;
  const auto& files = manifest_member(root, "files", kIsObject, "an object", origin);
  for (const auto& item : files.items()) {
    const std::string where = concat(origin, " for file ", in_quotes(item.key()));
    check(is_plain_name(item.key()), kManifestPlace, "expected plain file names in ", origin,
          ", got ", in_quotes(item.key()), ". The manifest is damaged or hostile.");
    check(item.value().is_object(), kManifestPlace, "expected an object in ", where, ", got ",
          item.value().type_name(), '.', kUseAnother);
    const auto& size = manifest_member(item.value(), "size", kIsNatural, "a whole number", where);
    manifest.files[item.key()] = {size.get<uint64_t>(),
                                  checksum_member(item.value(), where, "xxh3_64")};
  }
  const auto& metadata = manifest_member(root, "metadata", kIsObject, "an object", origin);
  for (const auto& item : metadata.items()) {
    check(item.value().is_string(), kManifestPlace, "expected strings in the metadata of ", origin,
          ", got ", item.value().type_name(), " at ", in_quotes(item.key()), '.', kUseAnother);
    manifest.metadata[item.key()] = item.value().get<std::string>();
  }
  check(checksum_of(manifest_json(manifest).dump()) == checksum_member(root, origin, "checksum"),
        kManifestPlace, "expected the checksum that ", origin,
        " states of itself, got another. It was damaged or edited.", kUseAnother);
  return manifest;
}

Manifest read_manifest(const Path& folder, FileSystem& files) {
  const Path path = folder / kManifestName;
  if (files.kind(path) != FileKind::kFile)
    fail(kManifestPlace, "expected a file '", path.string(), "', got none. '", folder.string(),
         "' is no checkpoint folder, or one that was damaged.");
  return parse_manifest(read_file(files, path, kMaxManifest), "'" + path.string() + "'");
}

Manifest check_sizes(const Path& folder, FileSystem& files) {
  return inspect_folder(folder, files, false);
}

Manifest verify_manifest(const Path& folder, FileSystem& files) {
  return inspect_folder(folder, files, true);
}

std::vector<std::string> damage_in(const Path& folder, FileSystem& files) {
  try {
    return problems_of(folder, read_manifest(folder, files), files, /*read_content=*/true);
  } catch (const Error& error) {
    return {error.what()};
  }
}

}  // namespace moe::checkpoint
