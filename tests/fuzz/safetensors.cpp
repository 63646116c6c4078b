// A safetensors file: its header, and the tensors read through the mapping.

#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include <moe/formats/safetensors.h>

#include "tests/fuzz/targets.h"

namespace moe::fuzz {

namespace {

/// A file without a name, so that a million inputs leave nothing on the disk.
class UnnamedFile {
 public:
  UnnamedFile() : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (fd_ < 0) throw std::runtime_error("memfd_create failed");
  }
  ~UnnamedFile() { ::close(fd_); }
  UnnamedFile(const UnnamedFile&) = delete;
  UnnamedFile& operator=(const UnnamedFile&) = delete;

  void fill(std::string_view content) const {
    if (::ftruncate(fd_, 0) != 0 ||
        ::pwrite(fd_, content.data(), content.size(), 0) != static_cast<ssize_t>(content.size()))
      throw std::runtime_error("cannot fill the file");
  }
  Path path() const { return concat("/proc/self/fd/", fd_); }

 private:
  int fd_;
};

class OutputText final : public OutputFile {
 public:
  std::string text;
  void write(Bytes bytes) override { text += text_of(bytes); }
  void sync() override {}
  void close() override {}
};

/// The input as it stands; or, when its first byte is odd, a header to which the length and so many
/// bytes of data as the next two say are added, so that mutation need not keep them right.
std::string file_of(Bytes input) {
  std::string_view rest = text_of(input);
  if (rest.size() < 3 || (rest[0] & 1) == 0) return std::string(rest.substr(rest.empty() ? 0 : 1));
  const size_t data_bytes =
      static_cast<unsigned char>(rest[1]) + 256 * (static_cast<unsigned char>(rest[2]) & 15u);
  rest.remove_prefix(3);
  const uint64_t length = rest.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file.append(rest).append(data_bytes, '\1');
}

void require_same(const formats::SafetensorsHeader& a, const formats::SafetensorsHeader& b) {
  require(a.metadata == b.metadata, "metadata changed");
  require(a.tensors.size() == b.tensors.size(), "tensors lost");
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    const auto& [name, was] = a.tensors[i];
    const auto& [other, is] = b.tensors[i];
    require(name == other && was.dtype == is.dtype && was.shape == is.shape &&
                was.begin == is.begin && was.end == is.end,
            "the entry of ", name, " changed");
  }
}

std::string bytes_of_tensor(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

}  // namespace

void safetensors(Bytes input) {
  static const UnnamedFile file, written;  // two: tensors are views of the file they come from
  const std::string content = file_of(input);
  formats::SafetensorsHeader header;
  const bool parsed = accepts(
      [&] { header = formats::parse_safetensors_header(bytes_of(content), "x.safetensors"); });
  file.fill(content);
  formats::NamedTensors tensors;
  std::map<std::string, std::string> metadata;
  const bool opened = accepts([&] {
    const auto opened_file = formats::SafetensorsFile::open(file.path());
    metadata = opened_file.metadata();
    for (const auto& name : opened_file.names()) {
      const auto& info = opened_file.info(name);
      // BOOL tensors may hold bytes that are no bool.
      accepts([&] { tensors.emplace_back(name, opened_file.tensor(name)); });
      if (tensors.empty() || tensors.back().first != name) continue;
      require(tensors.back().second.nbytes() == info.end - info.begin, "wrong size of ", name);
      require(tensors.back().second.sizes() == info.shape, "wrong shape of ", name);
    }
  });
  require(opened == parsed, "the header parses alone but not in its file, or the reverse");
  if (!parsed) return;

  const std::string formatted = formats::format_safetensors_header(header);
  require(formatted.size() % formats::kSafetensorsAlignment == 0, "data is not aligned");
  const uint64_t data_bytes = content.size() - header.data_begin;
  require_same(header, formats::parse_safetensors_header(
                           bytes_of(formatted + std::string(data_bytes, '\0')), "written"));

  OutputText out;
  formats::write_safetensors(out, tensors, metadata);
  written.fill(out.text);
  const auto again = formats::SafetensorsFile::open(written.path());
  require(again.names().size() == tensors.size() && again.metadata() == metadata,
          "written tensors or metadata are lost");
  for (const auto& [name, tensor] : tensors)
    require(bytes_of_tensor(again.tensor(name)) == bytes_of_tensor(tensor), "bytes of ", name,
            " changed");
}

}  // namespace moe::fuzz
