// model.safetensors.index.json: its text, and a folder of two shards that it may tell the truth of.

#include <fstream>

#include <ATen/ops/ones.h>
#include <nlohmann/json.hpp>

#include <moe/formats/safetensors_shards.h>

#include "tests/fuzz/targets.h"
#include "tests/support/temporary_folder.h"

namespace moe::fuzz {

namespace {

using Index = std::map<std::string, std::string>;

/// "a" and "b" stand in one.safetensors, "c" in two.safetensors.
const Index& truth() {
  static const Index out = {
      {"a", "one.safetensors"}, {"b", "one.safetensors"}, {"c", "two.safetensors"}};
  return out;
}

void write_shard(const Path& path, const std::vector<std::string>& names) {
  std::vector<formats::TensorSource> tensors;
  for (const auto& name : names)
    tensors.push_back({name, at::kFloat, {2, 3}, [] { return at::ones({2, 3}); }});
  write_file(real_files(), path,
             [&](OutputFile& out) { formats::write_safetensors(out, tensors, {}); });
}

/// Written once: only the index differs between inputs.
const Path& folder_of_shards() {
  static const test::TemporaryFolder folder;
  static const Path path = [] {
    write_shard(folder / "one.safetensors", {"a", "b"});
    write_shard(folder / "two.safetensors", {"c"});
    return folder.path();
  }();
  return path;
}

std::string text_of_index(const Index& index) {
  nlohmann::json map = nlohmann::json::object();
  for (const auto& [name, file] : index) map[name] = file;
  return nlohmann::json{{"weight_map", map}}.dump();
}

}  // namespace

void shard_index(Bytes input) {
  const std::string_view text = text_of(input);
  Index index;
  const bool parsed = accepts([&] { index = formats::parse_shard_index(text, "'index'"); });
  if (parsed) {
    require(!index.empty(), "an index without tensors");
    for (const auto& [name, file] : index)
      require(!file.empty() && file != "." && file != ".." && file.find('/') == file.npos &&
                  file.find('\0') == file.npos,
              "a name that leads out of the folder: ", file);
    require(formats::parse_shard_index(text_of_index(index), "written") == index,
            "the index changed when written");
  }

  const Path& folder = folder_of_shards();
  // Not write_file, which waits for the disk.
  std::ofstream(folder / formats::kShardIndex, std::ios::binary) << text;
  std::vector<std::string> names;
  const bool opened = accepts([&] { names = formats::SafetensorsShards::open(folder).names(); });
  require(opened == (parsed && index == truth()),
          "shards were opened by an index that is wrong of them, or not by the right one");
  require(!opened || names == std::vector<std::string>{"a", "b", "c"}, "other tensors were opened");
}

}  // namespace moe::fuzz
