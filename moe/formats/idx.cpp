#include <array>

#include <moe/base/error.h>
#include <moe/formats/gzip.h>
#include <moe/formats/idx.h>

namespace moe::formats {

namespace {

constexpr const char* kPlaceOfIdx = "formats/idx";
constexpr int kUnsignedBytes = 8;

uint32_t big_endian(std::span<const std::byte, 4> bytes) {
  uint32_t out = 0;
  for (const std::byte byte : bytes) out = out << 8 | std::to_integer<uint32_t>(byte);
  return out;
}

/// Bytes from front to back, whether they are compressed or not.
class IdxInput {
 public:
  IdxInput(std::span<const std::byte> file, const std::string& origin)
      : rest_(file), origin_(origin) {
    if (is_gzip(file)) gzip_ = std::make_unique<GzipReader>(file, origin);
  }

  bool compressed() const { return gzip_ != nullptr; }

  std::array<std::byte, 4> word() {
    std::array<std::byte, 4> out = {};
    if (gzip_) {
      gzip_->read(out);
      return out;
    }
    check(rest_.size() >= out.size(), kPlaceOfIdx, "expected an idx header in '", origin_,
          "', got the end of the file. It is cut short or no idx file; fetch it again.");
    std::copy_n(rest_.begin(), out.size(), out.begin());
    rest_ = rest_.subspan(out.size());
    return out;
  }

  std::span<const std::byte> rest() const { return rest_; }
  GzipReader& gzip() { return *gzip_; }

 private:
  std::span<const std::byte> rest_;
  const std::string& origin_;
  std::unique_ptr<GzipReader> gzip_;
};

std::vector<int64_t> read_shape(IdxInput& input, const std::string& origin) {
  const auto magic = input.word();
  const auto number = [&](size_t i) { return std::to_integer<int>(magic[i]); };
  check(number(0) == 0 && number(1) == 0, kPlaceOfIdx, "expected '", origin,
        "' to begin with two zero bytes, as idx does, got ", number(0), " and ", number(1),
        ". Name an idx file, plain or compressed with gzip.");
  check(number(2) == kUnsignedBytes, kPlaceOfIdx, "expected unsigned bytes (type ", kUnsignedBytes,
        ") in '", origin, "', got type ", number(2), ". Write the values as unsigned bytes.");
  check(number(3) >= 1 && number(3) <= static_cast<int>(kIdxMostDimensions), kPlaceOfIdx,
        "expected 1 to ", kIdxMostDimensions, " dimensions in '", origin, "', got ", number(3),
        ". The file is damaged, or of another kind.");
  std::vector<int64_t> shape;
  for (int i = 0; i < number(3); ++i) {
    shape.push_back(big_endian(input.word()));
    check(shape.back() > 0, kPlaceOfIdx, "expected sizes of at least 1 in '", origin,
          "', got 0 for dimension ", i, ". Name a file that holds something.");
  }
  return shape;
}

uint64_t count_values(const std::vector<int64_t>& shape, const std::string& origin) {
  int64_t values = 1;
  for (const int64_t size : shape)
    check(!__builtin_mul_overflow(values, size, &values), kPlaceOfIdx,
          "expected less than 2^63 bytes in '", origin,
          "', got a header that says more. The file is damaged; fetch it again.");
  return static_cast<uint64_t>(values);
}

}  // namespace

IdxArray read_idx(std::span<const std::byte> file, const std::string& origin,
                  std::shared_ptr<const void> owner) {
  IdxInput input(file, origin);
  IdxArray out;
  out.shape = read_shape(input, origin);
  const uint64_t values = count_values(out.shape, origin);
  const uint64_t most = input.compressed() ? most_bytes_of_gzip(file.size()) : input.rest().size();
  check(values <= most, kPlaceOfIdx, "expected ", values, " bytes of values behind the header of '",
        origin, "', got ", input.compressed() ? "at most " : "", most,
        ". The file is cut short; fetch it again.");
  if (input.compressed()) {
    auto memory = std::make_shared<std::vector<uint8_t>>(values);
    input.gzip().read(std::as_writable_bytes(std::span(*memory)));
    input.gzip().finish();
    out.values = *memory;
    out.owner = std::move(memory);
    return out;
  }
  check(values == most, kPlaceOfIdx, "expected ", values, " bytes of values behind the header of '",
        origin, "', got ", most - values, " bytes more. The file is damaged; fetch it again.");
  out.values = {reinterpret_cast<const uint8_t*>(input.rest().data()), input.rest().size()};
  out.owner = std::move(owner);
  return out;
}

IdxArray read_idx(const std::shared_ptr<const MappedFile>& file) {
  return read_idx(file->bytes(), file->path().string(), file);
}

}  // namespace moe::formats
