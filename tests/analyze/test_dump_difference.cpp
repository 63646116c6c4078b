#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/analyze/dump_difference.h>
#include <moe/formats/safetensors.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::analyze {
namespace {

class Dumps : public ::testing::Test {
 protected:
  Path write(const char* name, const formats::NamedTensors& tensors) {
    formats::write_safetensors(real_files(), folder_ / name, tensors);
    return folder_ / name;
  }
  test::TemporaryFolder folder_;
};

TEST_F(Dumps, TellTheFirstDifferenceInTheOrderOfThePass) {
  const auto x = at::arange(6, at::kFloat).view({2, 3});
  auto far = x.clone();
  far[1][0] += 0.5;
  const auto a = write("a", {{"grad.w", x},
                             {"logits", x},
                             {"layers.10.experts", x.to(at::kLong)},
                             {"layers.2.weights", x},
                             {"layers.2.experts", x.to(at::kLong)}});
  const auto b = write("b", {{"logits", far},
                             {"layers.2.experts", x.to(at::kLong)},
                             {"layers.2.weights", x + 1e-6},
                             {"grad.w", far},
                             {"layers.10.experts", x.to(at::kLong) + 1}});
  const auto found = compare_dumps(a, b);
  std::vector<std::string> names;
  for (const auto& tensor : found.tensors) names.push_back(tensor.name);
  EXPECT_EQ(names, (std::vector<std::string>{"layers.2.weights", "layers.2.experts",
                                             "layers.10.experts", "logits", "grad.w"}));
  EXPECT_EQ(found.first, 2u);
  EXPECT_EQ(found.tensors[2].beyond, 6);
  EXPECT_FALSE(found.tensors[0].differs());
  EXPECT_NEAR(found.tensors[0].largest, 1e-6, 1e-7);
  EXPECT_EQ(found.tensors[3].index, 3);
  EXPECT_NEAR(found.tensors[3].largest, 0.5, 1e-6);
  EXPECT_EQ(found.tensors[3].a, 3);
  EXPECT_EQ(found.tensors[3].beyond, 1);
  EXPECT_FALSE(compare_dumps(a, a).first.has_value());
  EXPECT_TRUE(compare_dumps(a, b, {.absolute = 2, .relative = 0}).first == std::nullopt);
}

TEST_F(Dumps, TellNamesShapesAndNumbersThatAreNone) {
  const double nan = std::nan("");
  const auto a = write("a", {{"one", at::zeros({2})},
                             {"shape", at::zeros({2, 3})},
                             {"nan", at::tensor({1.0, nan, nan, HUGE_VAL})},
                             {"empty", at::zeros({0})},
                             {"infinite", at::tensor({HUGE_VAL})}});
  const auto b = write("b", {{"two", at::zeros({2})},
                             {"shape", at::zeros({3, 2})},
                             {"nan", at::tensor({1.0, nan, 2.0, HUGE_VAL})},
                             {"empty", at::zeros({0})},
                             {"infinite", at::tensor({-HUGE_VAL})}});
  const auto found = compare_dumps(a, b);
  ASSERT_EQ(found.tensors.size(), 6u);
  EXPECT_EQ(found.tensors[0].mismatch, "only in the first");
  EXPECT_EQ(found.tensors[1].mismatch, "shape [2, 3] and [3, 2]");
  EXPECT_EQ(found.tensors[2].beyond, 1);
  EXPECT_EQ(found.tensors[2].index, 2);
  EXPECT_FALSE(found.tensors[3].differs());
  EXPECT_TRUE(found.tensors[4].differs());
  EXPECT_EQ(found.tensors[5].mismatch, "only in the second");
  EXPECT_ERROR(compare_dumps(a, folder_ / "c"), "c'");
  EXPECT_ERROR(compare_dumps(a, b, {.absolute = -1}), "at least 0");
}

}  // namespace
}  // namespace moe::analyze
