// Settings as JSON.
#include <cmath>
#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <moe/formats/json_table.h>

namespace moe::formats {
namespace {

TEST(JsonTable, GoesThereAndBack) {
  const std::string text =
      R"({"a": 1, "b": 1.5, "c": true, "d": null, "e": "x\n", "f": [1, [2.0, "y"]], "g": {"h": {}}})";
  const Table table = parse_json_table(text, "test", "'t'");
  EXPECT_EQ(*table.find("a")->as<int64_t>(), 1);
  EXPECT_EQ(*table.find("b")->as<double>(), 1.5);
  EXPECT_TRUE(table.find("d")->empty());
  EXPECT_EQ((*table.find("f")->as<Array>())[1].as<Array>()->size(), 2u);
  const std::string written = format_json_table(table);
  EXPECT_EQ(format_json_table(parse_json_table(written, "test", "'t'")), written);
  EXPECT_TRUE(test::contains(written, "\"d\": null")) << written;
}

TEST(JsonTable, KeepsTheOrderOfKeys) {
  Table table;
  table.set("z", 1);
  table.set("a", 2);
  const std::string written = format_json_table(table);
  EXPECT_LT(written.find("\"z\""), written.find("\"a\""));
}

TEST(JsonTable, RefusesNumbersThatNothingHolds) {
  EXPECT_ERROR(parse_json_table(R"({"a": 18446744073709551615})", "test", "'t'"),
               "below 2^63 in 't'");
  EXPECT_THROW(parse_json_table(R"({"a": 1e999})", "test", "'t'"), Error);
  Table table;
  table.set("a", std::nan(""));
  EXPECT_ERROR(format_json_table(table), "expected a finite number");
}

}  // namespace
}  // namespace moe::formats
