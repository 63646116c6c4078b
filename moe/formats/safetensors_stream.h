#pragma once
// A safetensors file larger than memory, written piece by piece. No shape letters: tensors of any
// shape pass through.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <moe/base/files.h>
#include <moe/formats/safetensors_header.h>

namespace moe::formats {

/// Tensors that grow along dimension 0. The format's header tells all sizes and comes first, so
/// pieces wait in a folder beside the file, one spool a tensor, until `finish` puts them together:
/// twice the disk, and the memory of one piece. Not thread-safe.
class SafetensorsStream {
 public:
  SafetensorsStream(FileSystem& files, const Path& path);
  /// Removes what waits. Without `finish`, `path` holds what it held before.
  ~SafetensorsStream();
  SafetensorsStream(const SafetensorsStream&) = delete;
  SafetensorsStream& operator=(const SafetensorsStream&) = delete;

  /// Adds `piece` behind the rows of `name`. Throws moe::Error for a scalar, for another dtype or
  /// row shape than the first piece had, and for dtypes without a name in the format.
  void append(const std::string& name, const at::Tensor& piece);
  /// Rows of `name` so far; 0 for a tensor that has no piece.
  int64_t rows(const std::string& name) const;
  /// Gives the whole of `name` another shape of as many elements.
  void reshape(const std::string& name, std::vector<int64_t> shape);
  /// Leaves `name` out of the file.
  void drop(const std::string& name);
  /// Writes the file, tensors in the order of their first pieces. Nothing may be added behind.
  void finish(const std::map<std::string, std::string>& metadata = {});

 private:
  struct Spool;
  Spool& at(const std::string& name);

  FileSystem& files_;
  Path path_, folder_;
  std::vector<std::unique_ptr<Spool>> spools_;
  int64_t created_ = 0;
};

}  // namespace moe::formats
