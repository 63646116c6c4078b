#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

#include <moe/analyze/student_t.h>

#include "tests/support/message_of.h"

namespace moe::analyze {
namespace {

/// Density of Student's t.
double density(double t, double degrees) {
  const double scale = std::exp(std::lgamma((degrees + 1) / 2) - std::lgamma(degrees / 2)) /
                       std::sqrt(degrees * std::numbers::pi);
  return scale * std::pow(1 + t * t / degrees, -(degrees + 1) / 2);
}

TEST(StudentT, IsWhatTablesSay) {
  // 97.5 % quantiles to 10 digits.
  EXPECT_NEAR(student_t(0.95, 1), 12.7062047362, 1e-9);
  EXPECT_NEAR(student_t(0.95, 2), 4.3026527297, 1e-9);
  EXPECT_NEAR(student_t(0.95, 3), 3.1824463053, 1e-9);
  EXPECT_NEAR(student_t(0.95, 4), 2.7764451052, 1e-9);
  EXPECT_NEAR(student_t(0.95, 10), 2.2281388520, 1e-9);
  EXPECT_NEAR(student_t(0.95, 11), 2.2009851601, 1e-9);
  EXPECT_NEAR(student_t(0.95, 30), 2.0422724563, 1e-9);
  EXPECT_NEAR(student_t(0.95, 99), 1.9842169516, 1e-9);
  EXPECT_NEAR(student_t(0.99, 5), 4.0321429836, 1e-9);
  // Closed forms: tan(p pi / 2), and p sqrt(2 / (1 - p²)).
  for (const double p : {0.01, 0.5, 0.9, 0.95, 0.999}) {
    EXPECT_NEAR(student_t(p, 1) / std::tan(p * std::numbers::pi / 2), 1, 1e-11) << p;
    EXPECT_NEAR(student_t(p, 2) / (p * std::sqrt(2 / (1 - p * p))), 1, 1e-11) << p;
  }
}

TEST(StudentT, HoldsItsProbabilityForAnyNumberOfDegrees) {
  double before = 13;
  for (int64_t degrees = 1; degrees <= 200; ++degrees) {
    const double t = student_t(0.95, degrees);
    EXPECT_LT(t, before) << degrees;
    EXPECT_GT(t, 1.9599639845) << degrees;
    before = t;
    // Simpson's rule from 0 to t.
    constexpr int kParts = 2000;
    double sum = 0;
    for (int i = 0; i <= kParts; ++i)
      sum += (i == 0 || i == kParts ? 1
              : i % 2 == 1          ? 4
                                    : 2) *
             density(t * i / kParts, static_cast<double>(degrees));
    EXPECT_NEAR(2 * sum * t / kParts / 3, 0.95, 1e-9) << degrees;
  }
  EXPECT_NEAR(student_t(0.95, 100001), 1.9599639845, 1e-4);
}

TEST(StudentT, RefusesWhatHasNoQuantile) {
  for (const double confidence : {0.0, 1.0, -1.0, 2.0, std::nan("")})
    EXPECT_ERROR(student_t(confidence, 3), "expected a confidence in (0, 1)");
  EXPECT_ERROR(student_t(0.95, 0), "at least 1 degree of freedom, got 0.95 and 0");
}

}  // namespace
}  // namespace moe::analyze
