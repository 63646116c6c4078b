#pragma once
// Tensors by name in one file, as the rest of the world reads and writes them
// (https://huggingface.co/docs/safetensors). No shape letters: tensors of any shape pass through.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <moe/base/files.h>
#include <moe/formats/safetensors_header.h>

namespace moe::formats {

/// A safetensors file opened for reading. Copies share the mapping; const calls are thread-safe.
class SafetensorsFile {
 public:
  /// Maps `path` and checks all of its header. Throws moe::Error for whatever is not exactly a
  /// safetensors file.
  static SafetensorsFile open(const Path& path, Mapping mapping = Mapping::kReadOnly);

  /// Names in the order of their bytes.
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const;
  /// dtype, shape and byte range; throws for an unknown name, with the nearest known one.
  const TensorInfo& info(std::string_view name) const;
  /// The tensor as a view of the mapping, which it keeps alive: nothing is read until used, and
  /// writing to it does what the mapping says. A tensor that does not stand at a multiple of its
  /// element size is copied. Throws when a BOOL tensor holds a byte other than 0 or 1.
  at::Tensor tensor(std::string_view name) const;
  /// The same for a part of the tensor: `count` numbers from number `first` on, as a vector.
  at::Tensor part(std::string_view name, int64_t first, int64_t count) const;
  /// Whether `tensor` gives a view, not a copy.
  bool gives_view(std::string_view name) const;
  /// Lets go of the memory that reading the tensor took; views of it stay valid and read again.
  void release(std::string_view name) const;
  /// The same for the whole pages of a part.
  void release(std::string_view name, int64_t first, int64_t count) const;
  const std::map<std::string, std::string>& metadata() const { return header_->metadata; }

 private:
  SafetensorsFile() = default;
  at::Tensor read(std::string_view name, const TensorInfo& tensor, uint64_t begin, uint64_t end,
                  at::IntArrayRef shape) const;

  std::shared_ptr<const MappedFile> file_;
  std::shared_ptr<const SafetensorsHeader> header_;
  std::unordered_map<std::string_view, const TensorInfo*> by_name_;  // into header_
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// A tensor that is made when it is written, so that not all of them need memory at once.
struct TensorSource {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  std::function<at::Tensor()> make;
};

/// Writes `tensors` in the order given, the data aligned to 64 bytes, the same bytes for the same
/// input. Tensors that are not contiguous or not in CPU memory are copied, one at a time. Throws
/// before writing anything for repeated or reserved names, dtypes without a name in the format,
/// tensors that are not dense, more than 8 dimensions.
void write_safetensors(OutputFile& out, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

/// The same for tensors that are made one at a time. Throws where one is not what was said of it.
void write_safetensors(OutputFile& out, const std::vector<TensorSource>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

/// The first into a file, which then holds all of it or what it held before.
void write_safetensors(FileSystem& files, const Path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace moe::formats
