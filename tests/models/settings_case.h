#pragma once
// Cases of tests/golden/settings, which leave out the weights: numbers that
// tests/golden/make_settings.py computes to the same bits. No shape letters: tensors of any shape.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <tests/support/temporary_folder.h>
#include <vector>

#include <ATen/ops/empty.h>

#include <moe/formats/json_table.h>
#include <moe/formats/safetensors_shards.h>
#include <moe/models/hf_config.h>

namespace moe::test {

/// FNV-1a.
inline uint64_t hash_of(std::string_view text) {
  uint64_t h = 0xcbf29ce484222325;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return h;
}

inline uint64_t splitmix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/// With u uniform in [-1, 1): 1 + u / 4 in vectors named *weight, which scale what is normalised,
/// u / 4 in other vectors, and 2 u / sqrt(last dimension) in all else, rounded once to float32. A
/// fused multiply-add changes nothing: u / 4 and the sum are exact.
inline at::Tensor formula_weights(const std::string& name, int64_t salt,
                                  const std::vector<int64_t>& shape) {
  const uint64_t h = hash_of(name + "/" + std::to_string(salt));
  const bool vector = shape.size() == 1;
  const double offset = vector && name.ends_with("weight") ? 1 : 0;
  const double scale = vector ? 0.25 : 2 / std::sqrt(static_cast<double>(shape.back()));
  const at::Tensor out = at::empty(shape, at::kFloat);
  auto* values = out.mutable_data_ptr<float>();
  for (int64_t j = 0; j < out.numel(); ++j) {
    const auto upper = static_cast<double>(splitmix64(h + static_cast<uint64_t>(j)) >> 40);
    values[j] = static_cast<float>(offset + (upper / (1 << 23) - 1) * scale);
  }
  return out;
}

/// "a.{0,2}.b" is "a.0.b" and "a.2.b".
inline std::vector<std::string> unfolded(const std::string& name) {
  const size_t open = name.find('{');
  if (open == std::string::npos) return {name};
  const size_t close = name.find('}', open);
  std::vector<std::string> out;
  for (size_t begin = open + 1; begin < close;) {
    const size_t end = std::min(name.find(',', begin), close);
    for (const auto& rest : unfolded(name.substr(close + 1)))
      out.push_back(name.substr(0, open) + name.substr(begin, end - begin) + rest);
    begin = end + 1;
  }
  return out;
}

/// The case with its weights, as the other cases are laid: model/, tokens.json and
/// expected.safetensors in a folder that lives as long as this.
class SettingsCase {
 public:
  static Path stored(const std::string& name) {
    return Path(MOE_SOURCE_DIR) / "tests" / "golden" / "settings" / name;
  }

  explicit SettingsCase(const std::string& name) {
    const Path from = stored(name), model = folder_ / "model";
    std::filesystem::create_directory(model);
    std::filesystem::copy_file(from / models::kHfConfigName, model / models::kHfConfigName);
    for (const auto& file : {from / "expected.safetensors", stored("tokens.json")})
      std::filesystem::copy_file(file, folder_ / file.filename().string());
    const Table weights = formats::parse_json_table(
        read_file(real_files(), from / "weights.json", 1 << 20), "golden", "weights.json");
    const int64_t salt = *weights.find("salt")->as<int64_t>();
    formats::NamedTensors tensors;
    for (const auto& [folded, sizes] : *weights.find("shapes")->as<Table>()) {
      std::vector<int64_t> shape;
      for (const auto& size : *sizes.as<Array>()) shape.push_back(*size.as<int64_t>());
      for (const auto& tensor : unfolded(folded))
        tensors.emplace_back(tensor, formula_weights(tensor, salt, shape));
    }
    formats::write_safetensors(real_files(), model / formats::kSingleShard, tensors);
  }

  const Path& path() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
};

}  // namespace moe::test
