#pragma once
// The tensors of a folder as Hugging Face lays them: one file, or several with an index that says
// which tensor stands in which. No shape letters: tensors of any shape pass through.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <moe/formats/safetensors.h>

namespace moe::formats {

inline constexpr const char* kSingleShard = "model.safetensors";
inline constexpr const char* kShardIndex = "model.safetensors.index.json";

/// What an index says: the file beside it that each tensor stands in. `source` names the index in
/// messages. Throws moe::Error for a text that is no index, and for one that names something else
/// than a file beside it.
std::map<std::string, std::string> parse_shard_index(std::string_view text,
                                                     const std::string& source);

/// All tensors of a folder, mapped. Copies share the mappings; const calls are thread-safe.
class SafetensorsShards {
 public:
  /// Opens model.safetensors, or the shards that model.safetensors.index.json names. Throws
  /// moe::Error when neither is there, for an index that names something other than a file beside
  /// it, and listing every tensor that is not where the index says, or that it does not name.
  static SafetensorsShards open(const Path& folder, Mapping mapping = Mapping::kReadOnly);

  /// Names in the order of the files, and of their bytes.
  const std::vector<std::string>& names() const { return names_; }
  bool contains(std::string_view name) const { return where_.contains(name); }
  /// As those of SafetensorsFile.
  const TensorInfo& info(std::string_view name) const { return file(name).info(name); }
  at::Tensor tensor(std::string_view name) const { return file(name).tensor(name); }
  at::Tensor part(std::string_view name, int64_t first, int64_t count) const {
    return file(name).part(name, first, count);
  }
  bool gives_view(std::string_view name) const { return file(name).gives_view(name); }
  void release(std::string_view name) const { file(name).release(name); }
  void release(std::string_view name, int64_t first, int64_t count) const {
    file(name).release(name, first, count);
  }
  /// Bytes of all tensors together.
  uint64_t bytes() const;

 private:
  const SafetensorsFile& file(std::string_view name) const;

  std::vector<SafetensorsFile> files_;
  std::vector<std::string> names_;
  std::map<std::string, size_t, std::less<>> where_;
};

/// Writes `tensors` into `folder` in the order given: as model.safetensors, or, where they are
/// larger than `shard_bytes`, as model-00001-of-00003.safetensors … of at most that size (or one
/// tensor) and an index.
void write_shards(FileSystem& files, const Path& folder, const std::vector<TensorSource>& tensors,
                  uint64_t shard_bytes = 5'000'000'000);

}  // namespace moe::formats
