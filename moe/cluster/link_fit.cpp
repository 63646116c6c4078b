#include <algorithm>
#include <cmath>

#include <moe/base/error.h>
#include <moe/cluster/link_fit.h>

namespace moe::cluster {

namespace {

constexpr const char* kPlaceOfFit = "cluster/link_fit";

}  // namespace

FittedLink fit_link(const std::vector<Timed>& measured) {
  // Minimises sum (x u + y v - 1)² with u = latencies / seconds and v = bytes / seconds.
  double uu = 0, uv = 0, vv = 0, u1 = 0, v1 = 0, fewest = INFINITY, most = 0;
  for (const auto& [latencies, bytes, seconds] : measured) {
    check(std::isfinite(seconds) && seconds > 0 && bytes >= 0 && latencies >= 0, kPlaceOfFit,
          "expected times above 0 of at least 0 bytes, got ", seconds, " s for ", bytes,
          " bytes. Measure again.");
    const double u = latencies / seconds, v = bytes / seconds;
    uu += u * u, uv += u * v, vv += v * v, u1 += u, v1 += v;
    fewest = std::min(fewest, bytes), most = std::max(most, bytes);
  }
  check(measured.size() >= 2 && most > fewest, kPlaceOfFit,
        "expected measurements of at least two sizes, got ", measured.size(),
        ". Measure short and long messages.");
  const double determinant = uu * vv - uv * uv;
  double x = determinant > 1e-12 * uu * vv ? (u1 * vv - v1 * uv) / determinant : 0;
  double y = determinant > 1e-12 * uu * vv ? (v1 * uu - u1 * uv) / determinant : v1 / vv;
  // Noise may make a line fall, or begin below nothing: then all is bandwidth, and `worst` is
  // large.
  if (x < 0 || !(y > 0)) x = 0, y = v1 / vv;
  FittedLink out{.latency = x, .bandwidth = 1 / y};
  for (const auto& [latencies, bytes, seconds] : measured)
    out.worst = std::max(out.worst, std::abs((latencies * x + bytes * y) / seconds - 1));
  return out;
}

}  // namespace moe::cluster
