#pragma once
// Hugging Face model directories: config.json, *.safetensors and an optional index.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include <moe/base/files.h>
#include <moe/formats/safetensors_shards.h>
#include <moe/models/family.h>

namespace moe::models {

/// What config.json of a directory says: nothing of the weights is read.
struct HuggingFaceConfig {
  std::string family;
  ModelSpec spec;
  HfConfig config;
};

/// Whether `folder` has a config.json (a checkpoint of ours has none).
bool is_hugging_face(const Path& folder);

/// Throws moe::Error naming the family or the keys that this version does not know.
HuggingFaceConfig read_hugging_face(const Path& folder);

/// Where the tensors of the family's checkpoints stand in `model`, made from `spec`.
TensorMap tensor_map(const std::string& family, const ModelSpec& spec,
                     const torch::nn::Module& model);

/// Fills `model`, whose tensors need no memory yet, from a checkpoint, floating parameters as
/// `dtype`, one tensor after another: no second copy is ever there.
///
/// A parameter that the checkpoint holds in one piece and as `dtype` becomes a view of the mapped
/// file: embedding, head, norms, attention, router and the like. It is read when it is used first,
/// takes no memory of its own until it is written to, and then changes in this process only.
/// Parameters made of several tensors (stacks of experts, gate and up projections) are copied, and
/// what was read of the file for them is let go. The file must not be changed in place meanwhile;
/// replacing it by another does no harm.
///
/// Throws moe::Error listing unknown, missing and misshapen tensors, and for types that hold no
/// plain numbers.
void fill_from_shards(const torch::nn::Module& model, const TensorMap& map,
                      const formats::SafetensorsShards& shards, at::ScalarType dtype,
                      std::string_view source);

struct HuggingFaceModel : HuggingFaceConfig {
  /// In evaluation mode, on the CPU.
  std::shared_ptr<Model> model;
};

/// The model of a directory, filled (see fill_from_shards). `change` is handed the model while it
/// is unfilled.
HuggingFaceModel load_hugging_face(const Path& folder, at::ScalarType dtype = at::kFloat,
                                   const std::function<void(Model&)>& change = {});

/// Writes `model` as a directory that other programs read: its tensors as they are, `config` as
/// config.json, and the other files as they come. Where `folder` is there already it must be empty;
/// it gets all files or none. Shards hold at most `shard_bytes`, or one tensor.
void write_hugging_face(FileSystem& files, const Path& folder, const torch::nn::Module& model,
                        const TensorMap& map, const Table& config,
                        const std::map<std::string, Fill>& others = {},
                        uint64_t shard_bytes = 5'000'000'000);

}  // namespace moe::models
