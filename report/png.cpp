#include <algorithm>
#include <png.h>

#include <moe/base/error.h>
#include <report/png.h>

namespace moe::report {

std::string png(int64_t width, int64_t height, std::span<const uint8_t> pixels,
                const std::vector<Colour>& palette) {
  constexpr const char* kPlace = "report/png";
  const auto fits = [](int64_t side) { return side >= 1 && side <= 65535; };
  check(fits(width) && fits(height) && pixels.size() == static_cast<size_t>(width * height), kPlace,
        "expected width x height pixels with sides in [1, 65535], got ", width, " x ", height,
        " and ", pixels.size(), " pixels.");
  check(!palette.empty() && palette.size() <= 256 &&
            std::ranges::all_of(pixels, [&](uint8_t p) { return p < palette.size(); }),
        kPlace, "expected 1 to 256 colours and pixels among them, got ", palette.size(),
        " colours.");
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = PNG_FORMAT_RGBA_COLORMAP;
  image.flags = PNG_IMAGE_FLAG_FAST;
  image.colormap_entries = static_cast<png_uint_32>(palette.size());
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string out(size, '\0');
  const int written =
      png_image_write_to_memory(&image, out.data(), &size, 0, pixels.data(), 0, palette.data());
  check(written != 0, kPlace, "expected libpng to write ", width, " x ", height, " pixels, got '",
        image.message, "'.");
  out.resize(size);
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
