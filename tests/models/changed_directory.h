#pragma once
// A Hugging Face directory whose tensors and settings a test changes. No shape letters: tensors of
// any shape.

#include <fstream>
#include <map>
#include <string>

#include <moe/formats/json_table.h>
#include <moe/formats/safetensors_shards.h>
#include <moe/models/hf_config.h>

namespace moe::test {

struct ChangedDirectory {
  std::map<std::string, at::Tensor> tensors;
  Table config;

  explicit ChangedDirectory(const Path& source)
      : config(models::HfConfig::read(source).settings()) {
    const auto shards = formats::SafetensorsShards::open(source);
    for (const auto& name : shards.names()) tensors[name] = shards.tensor(name).clone();
  }

  void write_config(const Path& folder) const {
    std::ofstream(folder / models::kHfConfigName) << formats::format_json_table(config);
  }
  /// Writes model.safetensors and config.json into `folder`, which is made.
  const Path& write(const Path& folder) const {
    std::filesystem::create_directories(folder);
    formats::write_safetensors(real_files(), folder / formats::kSingleShard,
                               formats::NamedTensors(tensors.begin(), tensors.end()));
    write_config(folder);
    return folder;
  }
  /// Tensors by the names that `rename` gives them.
  template <class Rename>
  void rename(Rename&& rename) {
    std::map<std::string, at::Tensor> renamed;
    for (auto& [name, tensor] : tensors) renamed[rename(name)] = tensor;
    tensors = std::move(renamed);
  }
};

}  // namespace moe::test
