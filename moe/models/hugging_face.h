#pragma once
// Hugging Face model directories: config.json, *.safetensors and an optional index.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <moe/base/files.h>
#include <moe/formats/safetensors_shards.h>
#include <moe/models/family.h>

namespace moe::models {

class StoredWeights;

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

/// Where the tensors of the family's checkpoints stand in `model`, made from `spec`: as the family
/// names them, or as a checkpoint with tensors of these shapes does.
TensorMap tensor_map(const std::string& family, const ModelSpec& spec,
                     const torch::nn::Module& model, const TensorShapes& checkpoint = {});

/// Fills `model`, whose tensors need no memory yet, from a checkpoint, floating parameters as
/// `dtype`, a part after another (of about a megabyte, or rows that belong together): no second
/// copy is ever there, of no tensor.
///
/// A parameter that the checkpoint holds in one piece and as `dtype` becomes a view of the mapped
/// file: embedding, head, norms, attention, router and the like. It takes no memory of its own
/// until it is written to, and then changes in this process only. Parameters made of several
/// tensors (stacks of experts, gate and up projections) are copied, as are quantised ones, and what
/// was read of the file for them is let go. The file must not be changed in place meanwhile;
/// replacing it by another does no harm.
///
/// Every number is looked at once: a warning lists the tensors with some that are not finite.
/// Throws moe::Error listing unknown, missing and misshapen tensors, and for types that hold no
/// plain numbers.
void fill_from_weights(const torch::nn::Module& model, const TensorMap& map,
                       const StoredWeights& weights, at::ScalarType dtype, std::string_view source);

struct HuggingFaceModel : HuggingFaceConfig {
  /// In evaluation mode, on the CPU.
  std::shared_ptr<Model> model;
  /// As the directory names and lays its tensors.
  std::shared_ptr<const TensorMap> names;
};

/// The model of a directory, filled (see fill_from_weights). `change` is handed the model while it
/// is unfilled.
HuggingFaceModel load_hugging_face(const Path& folder, at::ScalarType dtype = at::kFloat,
                                   const std::function<void(Model&)>& change = {});

/// The type that the parameters of a directory are stored in, of those that take the type they are
/// asked for (type_in); of several the widest, and bfloat16 for quantised ones.
at::ScalarType stored_type_of(const HuggingFaceConfig& directory, const Path& folder);

/// Bytes of a file of tensors, where it is not said.
inline constexpr uint64_t kShardBytes = 5'000'000'000;

/// Writes `model` as a directory that other programs read: its tensors as they are, but for those
/// that `types` names another type of; `further` behind them, `config` as config.json, and the
/// other files as they come. Where `folder` is there already it must be empty; it gets all files or
/// none. Shards hold at most `shard_bytes`, or one tensor.
void write_hugging_face(FileSystem& files, const Path& folder, const torch::nn::Module& model,
                        const TensorMap& map, const Table& config,
                        const std::map<std::string, Fill>& others = {},
                        uint64_t shard_bytes = kShardBytes,
                        const std::vector<formats::TensorSource>& further = {},
                        const std::map<std::string, at::ScalarType>& types = {});

}  // namespace moe::models
