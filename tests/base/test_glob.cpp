#include <gtest/gtest.h>

#include <moe/base/glob.h>

namespace moe::test {
namespace {

TEST(Glob, FitsWholeTexts) {
  EXPECT_TRUE(glob_match("", ""));
  EXPECT_FALSE(glob_match("", "a"));
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("*", "layers.0.norm"));
  EXPECT_TRUE(glob_match("layers.*.router.*", "layers.10.moe.router.weight"));
  EXPECT_FALSE(glob_match("layers.*.router", "layers.10.moe.router.weight"));
  EXPECT_FALSE(glob_match("router.*", "layers.10.moe.router.weight"));
  EXPECT_TRUE(glob_match("layers.?.norm", "layers.3.norm"));
  EXPECT_FALSE(glob_match("layers.?.norm", "layers.13.norm"));
  EXPECT_FALSE(glob_match("?", ""));
}

TEST(Glob, GoesBackToTheLastStar) {
  EXPECT_TRUE(glob_match("*ab", "aab"));
  EXPECT_TRUE(glob_match("a*b*c", "abbbxbc"));
  EXPECT_FALSE(glob_match("a*b*c", "abbbxb"));
  EXPECT_TRUE(glob_match("**a**", "bab"));
  EXPECT_FALSE(glob_match("[a-c]", "b")) << "brackets are letters";
}

TEST(Glob, TakesNoExponentialTime) {
  const std::string text(20000, 'a');
  EXPECT_FALSE(glob_match("a*a*a*a*a*a*a*a*b", text));
}

}  // namespace
}  // namespace moe::test
