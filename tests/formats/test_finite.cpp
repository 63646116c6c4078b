#include <limits>

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <moe/formats/finite.h>

namespace moe::formats {
namespace {

TEST(Finite, CountsWhatIsNot) {
  const double infinite = std::numeric_limits<double>::infinity();
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    auto values = at::ones({70'000}, type);
    EXPECT_EQ(count_not_finite(values), 0) << type;
    values[3] = std::numeric_limits<double>::quiet_NaN();
    values[69'999] = infinite;
    values[69'998] = -infinite;
    values[0] = type == at::kHalf ? 65504.0 : 3e38;
    EXPECT_EQ(count_not_finite(values), 3) << type;
    EXPECT_EQ(count_not_finite(values.view({2, 35'000}).t()), 3) << type;
    EXPECT_EQ(count_not_finite(values.view({7, 10'000}).narrow(1, 0, 9'998)), 1) << "not dense";
    EXPECT_EQ(count_not_finite(values.narrow(0, 0, 0)), 0) << type;
  }
  EXPECT_EQ(count_not_finite(at::full({4}, -1, at::kLong)), 0);
}

}  // namespace
}  // namespace moe::formats
