#include <gtest/gtest.h>

#include <moe/config/differences.h>
#include <moe/config/toml.h>

namespace moe::config {
namespace {

std::vector<std::string> found(const std::string& was, const std::string& is) {
  std::vector<std::string> out;
  for (const auto& d : differences(parse_toml(was, "was"), parse_toml(is, "is")))
    out.push_back(d.key + ": " + d.was + " -> " + d.is);
  return out;
}

TEST(Differences, NameEveryKeyThatChangedCameOrWent) {
  EXPECT_TRUE(found("a = 1\n[b]\nc = [1, 2]\n", "[b]\nc = [1, 2]\n[c]\n[d]\n").size() == 1);
  EXPECT_EQ(found("a = 1\nb = 2\n", "b = 3\nc = \"x\"\n"),
            (std::vector<std::string>{"b: 2 -> 3", "c: nothing -> \"x\"", "a: 1 -> nothing"}));
}

TEST(Differences, ReachIntoListsOfTables) {
  EXPECT_EQ(found("[[d]]\nname = \"a\"\n[[d]]\nname = \"b\"\n",
                  "[[d]]\nname = \"a\"\n[[d]]\nname = \"c\"\n"),
            (std::vector<std::string>{"d[1].name: \"b\" -> \"c\""}));
}

}  // namespace
}  // namespace moe::config
