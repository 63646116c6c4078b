#include <algorithm>
#include <array>
#include <zlib.h>

#include <moe/base/error.h>
#include <moe/formats/gzip.h>

namespace moe::formats {

namespace {

constexpr const char* kPlaceOfGzip = "formats/gzip";
/// zlib counts in 32 bits.
constexpr size_t kMostAtOnce = size_t{1} << 30;

}  // namespace

bool is_gzip(std::span<const std::byte> file) {
  return file.size() >= 2 && file[0] == std::byte{0x1f} && file[1] == std::byte{0x8b};
}

GzipReader::GzipReader(std::span<const std::byte> file, std::string origin)
    : rest_(file), origin_(std::move(origin)), stream_(std::make_unique<z_stream_s>()) {
  constexpr int kGzipOnly = 16, kWindowBits = 15;
  const int status = inflateInit2(stream_.get(), kWindowBits + kGzipOnly);
  check(status == Z_OK, kPlaceOfGzip, "expected zlib to start, got status ", status,
        ". Free some memory.");
}

GzipReader::~GzipReader() {
  inflateEnd(stream_.get());
}

std::span<std::byte> GzipReader::fill(std::span<std::byte> out) {
  while (!out.empty() && !ended_) {
    const size_t given = std::min(rest_.size(), kMostAtOnce);
    const size_t room = std::min(out.size(), kMostAtOnce);
    // zlib does not write to what it reads, though its type says so.
    stream_->next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(rest_.data()));
    stream_->avail_in = static_cast<uInt>(given);
    stream_->next_out = reinterpret_cast<Bytef*>(out.data());
    stream_->avail_out = static_cast<uInt>(room);
    const int status = inflate(stream_.get(), Z_NO_FLUSH);
    const size_t used = given - stream_->avail_in, written = room - stream_->avail_out;
    rest_ = rest_.subspan(used);
    out = out.subspan(written);
    ended_ = status == Z_STREAM_END;
    check(ended_ || status == Z_OK || status == Z_BUF_ERROR, kPlaceOfGzip,
          "expected compressed data in '", origin_, "', got ",
          stream_->msg ? stream_->msg : "something else", ". The file is damaged; fetch it again.");
    check(ended_ || used + written > 0, kPlaceOfGzip,
          "expected the end of the compressed data in '", origin_,
          "', got the end of the file. It is cut short; fetch it again.");
  }
  return out;
}

void GzipReader::read(std::span<std::byte> out) {
  const size_t missing = fill(out).size();
  check(missing == 0, kPlaceOfGzip, "expected ", missing, " bytes more in '", origin_,
        "', got the end of its content. The file is cut short; fetch it again.");
}

void GzipReader::finish() {
  std::array<std::byte, 1> more;
  check(fill(more).size() == 1, kPlaceOfGzip, "expected the content of '", origin_,
        "' to end, got more bytes than its header says. The file is damaged; fetch it again.");
  check(rest_.empty(), kPlaceOfGzip, "expected nothing behind the compressed data of '", origin_,
        "', got ", rest_.size(), " bytes. The file is damaged; fetch it again.");
}

}  // namespace moe::formats
