#include <cmath>
#include <numbers>

#include <moe/analyze/student_t.h>
#include <moe/base/error.h>

namespace moe::analyze {

namespace {

/// P(|T| <= sqrt(degrees) tan(angle)): the finite sums that integers of degrees have (Abramowitz
/// and Stegun 26.7.3 and 26.7.4), sin(a) (1 + 1/2 cos^2(a) + 1·3/(2·4) cos^4(a) + …) for even and
/// 2/pi (a + sin(a) (cos(a) + 2/3 cos^3(a) + 2·4/(3·5) cos^5(a) + …)) for odd ones, up to the power
/// degrees - 2.
double probability_within(double angle, int64_t degrees) {
  const bool odd = degrees % 2 == 1;
  const double sine = std::sin(angle), cosine = std::cos(angle);
  double sum = 0, term = odd ? cosine : 1;
  for (int64_t power = odd ? 1 : 0; power <= degrees - 2; power += 2) {
    sum += term;
    term *= cosine * cosine * static_cast<double>(power + 1) / static_cast<double>(power + 2);
  }
  return odd ? (angle + sine * sum) * 2 / std::numbers::pi : sine * sum;
}

}  // namespace

double student_t(double confidence, int64_t degrees) {
  check(confidence > 0 && confidence < 1 && degrees >= 1, "analyze/student_t",
        "expected a confidence in (0, 1) and at least 1 degree of freedom, got ", confidence,
        " and ", degrees, ". Give two numbers or more.");
  double low = 0, high = std::numbers::pi / 2;
  for (;;) {
    const double middle = (low + high) / 2;
    if (middle <= low || middle >= high) break;  // neighbours
    (probability_within(middle, degrees) < confidence ? low : high) = middle;
  }
  return std::sqrt(static_cast<double>(degrees)) * std::tan((low + high) / 2);
}

}  // namespace moe::analyze
