#include <algorithm>
#include <cstring>
#include <unordered_set>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/accumulate.h>

#include <moe/base/error.h>
#include <moe/formats/safetensors.h>
#include <moe/formats/strict_json.h>

namespace moe::formats {

namespace {

/// The header that describes `tensors` laid back to back. Throws for what the format cannot hold.
SafetensorsHeader describe_tensors(const std::vector<TensorSource>& tensors,
                                   const std::map<std::string, std::string>& metadata) {
  constexpr std::string_view place = "formats/safetensors";
  SafetensorsHeader header;
  header.metadata = metadata;
  std::unordered_set<std::string_view> seen;
  uint64_t end = 0;
  for (const auto& [name, dtype, shape, make] : tensors) {
    const std::string shown = in_quotes(name);
    check(name != "__metadata__" && seen.insert(name).second, place,
          "expected tensor names that differ from each other and from '__metadata__', got ", shown,
          ". Rename the tensor.");
    check(safetensors_name(dtype).has_value(), place, "expected tensor ", shown,
          " to have a dtype of the format, got ", c10::toString(dtype),
          ". Convert it, e.g. complex numbers to two real ones.");
    check(shape.size() <= kSafetensorsMaxDims, place, "expected at most ", kSafetensorsMaxDims,
          " dimensions in tensor ", shown, ", got ", shape.size(), ". Reshape it.");
    const uint64_t begin = end;
    end += static_cast<uint64_t>(c10::multiply_integers(shape)) * c10::elementSize(dtype);
    header.tensors.emplace_back(name, TensorInfo{dtype, shape, begin, end});
  }
  return header;
}

/// `tensor` as it is, to be written under `name`.
TensorSource source_of(const std::string& name, const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.layout() != at::kStrided || tensor.is_meta())
    fail("formats/safetensors", "expected tensor ", in_quotes(name),
         " to be dense and to have data, got ",
         !tensor.defined() ? "an undefined one" : "a sparse or meta one",
         ". Fill it or leave it out.");
  return {name, tensor.scalar_type(), tensor.sizes().vec(), [tensor] { return tensor; }};
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const Path& path, Mapping mapping) {
  SafetensorsFile result;
  result.file_ = MappedFile::open(path, mapping);
  result.header_ = std::make_shared<const SafetensorsHeader>(
      parse_safetensors_header(result.file_->bytes(), path.string()));
  for (const auto& [name, info] : result.header_->tensors) result.by_name_.emplace(name, &info);
  return result;
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& tensor : header_->tensors) names.push_back(tensor.first);
  return names;
}

bool SafetensorsFile::contains(std::string_view name) const {
  return by_name_.contains(name);
}

const TensorInfo& SafetensorsFile::info(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end())
    fail("formats/safetensors", "expected a tensor ", in_quotes(name), " in '",
         file_->path().string(), "', got none among its ", by_name_.size(), '.',
         did_you_mean(name, names()));
  return *found->second;
}

namespace {

/// The bytes of `count` numbers from `first` on, counted as TensorInfo's are. Throws for numbers
/// that the tensor has not.
std::pair<uint64_t, uint64_t> range_of(const TensorInfo& tensor, std::string_view name,
                                       int64_t first, int64_t count) {
  const auto size = static_cast<uint64_t>(c10::elementSize(tensor.dtype));
  const auto numbers = static_cast<int64_t>((tensor.end - tensor.begin) / size);
  if (first < 0 || count < 0 || first > numbers - count)
    fail("formats/safetensors", "expected a part of the ", numbers, " numbers of tensor ",
         in_quotes(name), ", got ", count, " from ", first, " on.");
  const uint64_t begin = tensor.begin + static_cast<uint64_t>(first) * size;
  return {begin, begin + static_cast<uint64_t>(count) * size};
}

}  // namespace

at::Tensor SafetensorsFile::tensor(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  return read(name, tensor, tensor.begin, tensor.end, tensor.shape);
}

at::Tensor SafetensorsFile::part(std::string_view name, int64_t first, int64_t count) const {
  const TensorInfo& tensor = info(name);
  const auto [begin, end] = range_of(tensor, name, first, count);
  return read(name, tensor, begin, end, {count});
}

bool SafetensorsFile::gives_view(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  const auto address = reinterpret_cast<uintptr_t>(file_->bytes().data());
  return (address + header_->data_begin + tensor.begin) % c10::elementSize(tensor.dtype) == 0;
}

at::Tensor SafetensorsFile::read(std::string_view name, const TensorInfo& tensor, uint64_t begin,
                                 uint64_t end, at::IntArrayRef shape) const {
  const auto options = at::TensorOptions().dtype(tensor.dtype);
  const auto bytes = file_->bytes().subspan(header_->data_begin + begin, end - begin);
  if (bytes.empty()) return at::empty(shape, options);
  // Any other byte in a C++ bool is undefined behaviour wherever it is read.
  if (tensor.dtype == at::kBool)
    check(std::all_of(bytes.begin(), bytes.end(), [](auto byte) { return byte <= std::byte{1}; }),
          "formats/safetensors", "expected bytes 0 and 1 in BOOL tensor ", in_quotes(name), " of '",
          file_->path().string(), "', got others. The file is damaged; fetch or write it again.");
  if (!gives_view(name)) {
    const at::Tensor copy = at::empty(shape, options);
    std::memcpy(copy.mutable_data_ptr(), bytes.data(), bytes.size());
    return copy;
  }
  return at::from_blob(
      const_cast<std::byte*>(bytes.data()), shape, [keep = file_](void*) {}, options);
}

void SafetensorsFile::release(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  file_->release(header_->data_begin + tensor.begin, header_->data_begin + tensor.end);
}

void SafetensorsFile::release(std::string_view name, int64_t first, int64_t count) const {
  const auto [begin, end] = range_of(info(name), name, first, count);
  file_->release(header_->data_begin + begin, header_->data_begin + end);
}

void write_safetensors(OutputFile& out, const std::vector<TensorSource>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  out.write(bytes_of(format_safetensors_header(describe_tensors(tensors, metadata))));
  for (const auto& [name, dtype, shape, make] : tensors) {
    // A negated view keeps its sign in a flag, which the bytes do not show.
    const at::Tensor plain = make().detach().cpu().resolve_neg().contiguous();
    check(plain.scalar_type() == dtype && plain.sizes() == c10::IntArrayRef(shape),
          "formats/safetensors", "expected tensor ", in_quotes(name), " to be made as ",
          c10::toString(dtype), ' ', c10::IntArrayRef(shape), ", got ",
          c10::toString(plain.scalar_type()), ' ', plain.sizes(), '.');
    out.write({static_cast<const std::byte*>(plain.const_data_ptr()), plain.nbytes()});
  }
}

void write_safetensors(OutputFile& out, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorSource> sources;
  for (const auto& [name, tensor] : tensors) sources.push_back(source_of(name, tensor));
  write_safetensors(out, sources, metadata);
}

void write_safetensors(FileSystem& files, const Path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  write_file_atomically(files, path,
                        [&](OutputFile& out) { write_safetensors(out, tensors, metadata); });
}

}  // namespace moe::formats
