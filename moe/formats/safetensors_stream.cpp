#include <algorithm>
#include <numeric>

#include <moe/base/error.h>
#include <moe/formats/safetensors_stream.h>
#include <moe/formats/strict_json.h>

namespace moe::formats {

namespace {

constexpr const char* kPlaceOfStream = "formats/safetensors";

}  // namespace

struct SafetensorsStream::Spool {
  std::string name;
  Path path;
  std::unique_ptr<OutputFile> file;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
};

SafetensorsStream::SafetensorsStream(FileSystem& files, const Path& path)
    : files_(files),
      path_(path),
      folder_(folder_of(path) / (".tmp-" + path.filename().string() + ".parts")) {
  if (files_.exists(folder_)) remove_all(files_, folder_);  // of a process that was killed
  files_.make_folder(folder_);
}

SafetensorsStream::~SafetensorsStream() {
  spools_.clear();
  try {
    remove_all(files_, folder_);
  } catch (const Error&) {
    // A destructor has nobody to tell; the next stream to this path removes the left-over.
  }
}

SafetensorsStream::Spool& SafetensorsStream::at(const std::string& name) {
  const auto found =
      std::ranges::find_if(spools_, [&](const auto& spool) { return spool->name == name; });
  check(found != spools_.end(), kPlaceOfStream, "expected a tensor that was appended to, got ",
        in_quotes(name), '.');
  return **found;
}

int64_t SafetensorsStream::rows(const std::string& name) const {
  for (const auto& spool : spools_)
    if (spool->name == name) return spool->shape.front();
  return 0;
}

void SafetensorsStream::append(const std::string& name, const at::Tensor& piece) {
  check(piece.dim() >= 1 && static_cast<size_t>(piece.dim()) <= kSafetensorsMaxDims, kPlaceOfStream,
        "expected a piece of 1 to ", kSafetensorsMaxDims, " dimensions of ", in_quotes(name),
        ", got ", piece.dim(), '.');
  check(name != "__metadata__" && safetensors_name(piece.scalar_type()).has_value(), kPlaceOfStream,
        "expected a name other than '__metadata__' and a dtype of the format for ", in_quotes(name),
        ", got ", c10::toString(piece.scalar_type()), '.');
  if (std::ranges::none_of(spools_, [&](const auto& spool) { return spool->name == name; })) {
    auto spool = std::make_unique<Spool>();
    spool->name = name;
    spool->path = folder_ / std::to_string(created_++);
    spool->file = files_.create(spool->path);
    spool->dtype = piece.scalar_type();
    spool->shape = piece.sizes().vec();
    spool->shape.front() = 0;
    spools_.push_back(std::move(spool));
  }
  Spool& spool = at(name);
  check(spool.file != nullptr && spool.dtype == piece.scalar_type() &&
            piece.sizes().slice(1) == c10::IntArrayRef(spool.shape).slice(1),
        kPlaceOfStream, "expected pieces of ", in_quotes(name), " to be ",
        c10::toString(spool.dtype), " with rows like the first one's, got ",
        c10::toString(piece.scalar_type()), " of shape ", piece.sizes(), '.');
  const at::Tensor plain = piece.detach().cpu().resolve_neg().contiguous();
  spool.file->write({static_cast<const std::byte*>(plain.const_data_ptr()), plain.nbytes()});
  spool.shape.front() += piece.size(0);
  spool.bytes += plain.nbytes();
}

void SafetensorsStream::reshape(const std::string& name, std::vector<int64_t> shape) {
  Spool& spool = at(name);
  const auto elements = [](const std::vector<int64_t>& sizes) {
    return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
  };
  check(elements(shape) == elements(spool.shape), kPlaceOfStream, "expected a shape of ",
        elements(spool.shape), " elements for ", in_quotes(name), ", got ", c10::IntArrayRef(shape),
        '.');
  spool.shape = std::move(shape);
}

void SafetensorsStream::drop(const std::string& name) {
  const Spool& spool = at(name);
  std::erase_if(spools_, [&](const auto& other) { return other.get() == &spool; });
}

void SafetensorsStream::finish(const std::map<std::string, std::string>& metadata) {
  SafetensorsHeader header;
  header.metadata = metadata;
  uint64_t end = 0;
  for (auto& spool : spools_) {
    spool->file->close();
    spool->file = nullptr;
    header.tensors.emplace_back(spool->name,
                                TensorInfo{spool->dtype, spool->shape, end, end + spool->bytes});
    end += spool->bytes;
  }
  write_file_atomically(files_, path_, [&](OutputFile& out) {
    out.write(bytes_of(format_safetensors_header(header)));
    for (const auto& spool : spools_)
      files_.read(spool->path, [&](std::span<const std::byte> bytes) { out.write(bytes); });
  });
}

}  // namespace moe::formats
