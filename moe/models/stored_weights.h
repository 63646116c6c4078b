#pragma once
// The weights of a Hugging Face directory as numbers, however they are stored. No shape letters:
// tensors of any shape pass through.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <moe/formats/block_scaled.h>
#include <moe/formats/safetensors_shards.h>
#include <moe/models/hf_config.h>
#include <moe/models/name_map.h>

namespace moe::models {

/// Whether numbers of this type stand for themselves: float64, float32, bfloat16 and float16.
bool is_plain(at::ScalarType type);

/// All tensors of a directory, mapped. Quantised ones are shown as what they stand for, by the name
/// and in the shape of the plain form, and are computed when they are read, some rows at a time:
///
///   fp8    X (float8) with X_scale_inv, a scale for each block of quantization_config's
///          weight_block_size (none: one for all)            ->  X
///   mxfp4  X_blocks (E, outputs, G, 16) with X_scales (E, outputs, G), of experts  ->
///          X (E, inputs, outputs), as transformers has it in bfloat16
///
/// Scales of activations are passed over: products here are not quantised. Const calls are
/// thread-safe.
class StoredWeights {
 public:
  /// Throws moe::Error for a quantization_config of another method, naming it; listing weights
  /// without scales, scales without weights, and those whose shapes do not fit; and whatever
  /// SafetensorsShards::open throws.
  static StoredWeights open(const Path& folder, const HfConfig& config,
                            Mapping mapping = Mapping::kReadOnly);

  /// In the order of the files, and of their bytes.
  const std::vector<std::string>& names() const { return names_; }
  const TensorShapes& shapes() const { return shapes_; }
  /// The type of the numbers of a plain tensor; none for a quantised one.
  std::optional<at::ScalarType> dtype(const std::string& name) const;
  /// A plain tensor as a view of its file, whatever its type; a quantised one in `dtype`.
  Tensor tensor(const std::string& name, at::ScalarType dtype) const;
  /// The same for rows [first, first + count) of dimension 0. Those of a quantised tensor are a
  /// multiple of rows_at_once, or go to the end. A tensor without dimensions is one row.
  Tensor rows(const std::string& name, at::ScalarType dtype, int64_t first, int64_t count) const;
  int64_t rows_at_once(const std::string& name) const;
  /// `count` numbers of a plain tensor from number `first` on, as a vector.
  Tensor numbers(const std::string& name, int64_t first, int64_t count) const {
    return shards_.part(name, first, count);
  }
  /// Whether `tensor` gives a view of the file.
  bool gives_view(const std::string& name) const;
  /// Lets go of the memory that reading the tensor took, or some of its rows.
  void release(const std::string& name) const;
  void release_rows(const std::string& name, int64_t first, int64_t count) const;
  void release_numbers(const std::string& name, int64_t first, int64_t count) const {
    shards_.release(name, first, count);
  }

 private:
  /// The tensors that a quantised one is made of.
  struct Quantised {
    std::string values, scales;
    bool is_float8 = false;
  };

  explicit StoredWeights(formats::SafetensorsShards shards) : shards_(std::move(shards)) {}
  /// The stored tensor that holds most of one.
  const std::string& values_of(const std::string& name) const;
  /// The scales of rows [first, first + count) of a float8 tensor.
  Tensor scales_of_rows(const Quantised& tensor, int64_t first, int64_t count) const;
  /// These find the quantised tensors and return the names of what they are made of or need not.
  std::set<std::string> take_float8(std::vector<std::string>& wrong);
  std::set<std::string> take_mxfp4(std::vector<std::string>& wrong);

  formats::SafetensorsShards shards_;
  formats::BlockSize block_ = {};
  std::map<std::string, Quantised> quantised_;
  std::vector<std::string> names_;
  TensorShapes shapes_;
};

}  // namespace moe::models
