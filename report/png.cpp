// PNG (W3C, third edition) with one IDAT chunk, whose zlib stream (RFC 1950) has stored blocks only
// (RFC 1951, 3.2.4).
#include <algorithm>

#include <moe/base/error.h>
#include <report/png.h>

namespace moe::report {

namespace {

constexpr const char* kPlaceOfPng = "analyze/png";
constexpr size_t kLongestBlock = 65535;

void append_big_endian(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
}

uint32_t crc_of(const std::string& bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> out{};
    for (uint32_t n = 0; n < 256; ++n) {
      out[n] = n;
      for (int bit = 0; bit < 8; ++bit)
        out[n] = out[n] & 1 ? 0xEDB88320u ^ out[n] >> 1 : out[n] >> 1;
    }
    return out;
  }();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : bytes) crc = table[(crc ^ static_cast<uint8_t>(c)) & 0xFF] ^ crc >> 8;
  return ~crc;
}

uint32_t adler_of(const std::string& bytes) {
  uint32_t a = 1, b = 0;
  for (const char c : bytes) {
    a = (a + static_cast<uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

void append_chunk(std::string& out, const char* type, const std::string& content) {
  append_big_endian(out, static_cast<uint32_t>(content.size()));
  const std::string body = type + content;
  out += body;
  append_big_endian(out, crc_of(body));
}

std::string stored(const std::string& bytes) {
  std::string out = "\x78\x01";
  for (size_t begin = 0; begin < bytes.size(); begin += kLongestBlock) {
    const size_t length = std::min(kLongestBlock, bytes.size() - begin);
    out += begin + length == bytes.size() ? '\1' : '\0';
    for (const size_t number : {length, ~length}) {
      out += static_cast<char>(number & 0xFF);
      out += static_cast<char>(number >> 8 & 0xFF);
    }
    out.append(bytes, begin, length);
  }
  append_big_endian(out, adler_of(bytes));
  return out;
}

}  // namespace

std::string png(int64_t width, int64_t height, std::span<const uint8_t> pixels,
                const std::vector<Colour>& palette) {
  const auto fits = [](int64_t side) { return side >= 1 && side <= 65535; };
  check(fits(width) && fits(height) && pixels.size() == static_cast<size_t>(width * height),
        kPlaceOfPng, "expected width x height pixels with sides in [1, 65535], got ", width, " x ",
        height, " and ", pixels.size(), " pixels.");
  check(!palette.empty() && palette.size() <= 256 &&
            std::ranges::all_of(pixels, [&](uint8_t p) { return p < palette.size(); }),
        kPlaceOfPng, "expected 1 to 256 colours and pixels among them, got ", palette.size(),
        " colours.");
  std::string header, colours, alphas, rows;
  append_big_endian(header, static_cast<uint32_t>(width));
  append_big_endian(header, static_cast<uint32_t>(height));
  header += std::string("\x08\x03\x00\x00\x00", 5);  // 8 bits, palette, not interlaced
  for (const auto& [red, green, blue, alpha] : palette) {
    for (const uint8_t part : {red, green, blue}) colours += static_cast<char>(part);
    alphas += static_cast<char>(alpha);
  }
  for (int64_t y = 0; y < height; ++y) {
    rows += '\0';  // no filter
    for (int64_t x = 0; x < width; ++x)
      rows += static_cast<char>(pixels[static_cast<size_t>(y * width + x)]);
  }
  std::string out = "\x89PNG\r\n\x1A\n";
  append_chunk(out, "IHDR", header);
  append_chunk(out, "PLTE", colours);
  append_chunk(out, "tRNS", alphas);
  append_chunk(out, "IDAT", stored(rows));
  append_chunk(out, "IEND", "");
  return out;
}

std::string png_url(const std::string& bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out = "data:image/png;base64,";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](size_t k) {
      return k < bytes.size() ? static_cast<uint32_t>(static_cast<uint8_t>(bytes[k])) : 0u;
    };
    const uint32_t three = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    for (size_t k = 0; k < 4; ++k)
      out += i + k <= bytes.size() ? kDigits[three >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace moe::report
