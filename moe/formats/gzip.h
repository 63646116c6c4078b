#pragma once
// Files compressed with gzip (RFC 1952), through zlib.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

struct z_stream_s;

namespace moe::formats {

/// Whether `file` begins as gzip does.
bool is_gzip(std::span<const std::byte> file);

/// The most bytes that `compressed` bytes can hold: deflate writes at least one bit for 258 bytes.
inline uint64_t most_bytes_of_gzip(uint64_t compressed) {
  return compressed * 1032;
}

/// Reads the content of a gzip file of one member from front to back, into memory of the caller's.
/// Not thread-safe.
class GzipReader {
 public:
  /// `file` stays alive as long as the reader; `origin` names it in messages.
  GzipReader(std::span<const std::byte> file, std::string origin);
  ~GzipReader();
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  /// Fills `out`. Throws moe::Error when the content is damaged or ends before.
  void read(std::span<std::byte> out);
  /// Throws moe::Error unless the content ends here, has the checksum and the length that stand
  /// behind it, and nothing follows.
  void finish();

 private:
  /// Unpacks into `out` as far as it goes; returns what is left of it.
  std::span<std::byte> fill(std::span<std::byte> out);

  std::span<const std::byte> rest_;
  std::string origin_;
  std::unique_ptr<z_stream_s> stream_;
  bool ended_ = false;
};

}  // namespace moe::formats
