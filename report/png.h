#pragma once
// PNG pictures of few colours, small enough to stand inside a page.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace moe::report {

/// As libpng reads them: four bytes.
struct Colour {
  uint8_t red = 0, green = 0, blue = 0, alpha = 255;
};

/// A picture whose pixels are indices into `palette`, row by row from the top. `palette` has 1 to
/// 256 colours, `pixels` width times height indices into it, both sides in [1, 65535]; throws
/// moe::Error otherwise.
std::string png(int64_t width, int64_t height, std::span<const uint8_t> pixels,
                const std::vector<Colour>& palette);

/// "data:image/png;base64,…".
std::string png_url(const std::string& bytes);

}  // namespace moe::report
