#include <gtest/gtest.h>

#include <moe/config/overrides.h>
#include <moe/config/toml.h>

#include "tests/support/message_of.h"

namespace moe::config {

namespace {

/// `text` with the settings applied, as TOML.
std::string with(const std::string& text, const std::vector<std::string>& settings) {
  Table table = parse_toml(text, "x");
  for (const auto& setting : settings) apply_override(table, setting);
  return write_toml(table);
}

}  // namespace

TEST(Overrides, SetsNestedKeysAndMakesTablesOnTheWay) {
  EXPECT_EQ(with("[train]\nsteps = 1\n", {"train.steps=500", "train.optimizer.lr=3e-4"}),
            "[train]\nsteps = 500\n\n[train.optimizer]\nlr = 3e-04\n");
}

TEST(Overrides, ReadsValuesAsTomlAndElseAsText) {
  EXPECT_EQ(
      with("", {"a=true", "b=[1, 2]", "c=\"3\"", "d=relu", "e=", "f=2020-01-01", "g={x = 1}"}),
      "a = true\nb = [1, 2]\nc = \"3\"\nd = \"relu\"\ne = \"\"\nf = \"2020-01-01\"\n\n[g]\nx = "
      "1\n");
  EXPECT_EQ(with("", {"a=x=y"}), "a = \"x=y\"\n");
}

TEST(Overrides, AValueCannotSmuggleInOtherKeys) {
  EXPECT_EQ(with("", {"a=1\nb = 2"}), "a = \"1\\nb = 2\"\n");
}

TEST(Overrides, ReachesIntoLists) {
  EXPECT_EQ(
      with("[[balance]]\nkind = \"switch\"\n[[balance]]\nkind = \"z_loss\"\n",
           {"balance[1].coefficient=0.5"}),
      "[[balance]]\nkind = \"switch\"\n\n[[balance]]\nkind = \"z_loss\"\ncoefficient = 0.5\n");
  EXPECT_EQ(with("a = [[1, 2], [3]]", {"a[0][1]=7"}), "a = [[1, 7], [3]]\n");
}

TEST(Overrides, QuotedKeysMayHoldAnything) {
  EXPECT_EQ(with("", {"\"a.b = c\".d=1"}), "[\"a.b = c\"]\nd = 1\n");
}

TEST(Overrides, RefusesListItemsThatAreNotThere) {
  EXPECT_ERROR(with("a = [1]", {"a[1]=2"}), "[--set] expected an item of 'a' below 1, got [1]");
  EXPECT_ERROR(with("", {"a[0]=2"}), "expected a list at 'a', found nothing");
  EXPECT_ERROR(with("a = 3", {"a[0]=2"}), "found an integer");
  EXPECT_ERROR(with("a = 3", {"a.b=2"}), "expected a table at 'a', found an integer: 3");
}

TEST(Overrides, RefusesMalformedPaths) {
  for (const char* setting : {"", "a", "=1", "a.=1", ".a=1", "a..b=1", "a[=1", "a[]=1", "a[x]=1",
                              "a[-1]=1", "a b=1", "\"a=1", "a[99999999999999999999]=1", "a[0]b=1"})
    EXPECT_THROW(with("a = [1]", {setting}), ConfigError) << setting;
}

TEST(Overrides, RefusesWhatNoFileCouldHold) {
  Table table;
  EXPECT_ERROR(apply_override(table, "a=\xff"), "[--set] expected UTF-8, got 'a=\\xff'");
  EXPECT_TRUE(table.empty());
}

TEST(Overrides, AFailedOneChangesNothing) {
  Table table = parse_toml("x = [1]", "x");
  EXPECT_THROW(apply_override(table, "made.x[5]=1"), ConfigError);
  EXPECT_EQ(write_toml(table), "x = [1]\n");
}

}  // namespace moe::config
