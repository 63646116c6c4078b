#include <fstream>

#include <gtest/gtest.h>

#include <moe/config/toml.h>

#include "tests/support/message_of.h"
#include "tests/support/same_settings.h"
#include "tests/support/temporary_folder.h"

namespace moe::config {

namespace {

using moe::test::same;

template <class T>
T get(const Table& table, const char* key) {
  const Value* value = table.find(key);
  if (!value || !value->as<T>()) throw std::runtime_error(std::string("no ") + key);
  return *value->as<T>();
}

std::string repeated(const std::string& part, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += part;
  return out;
}

}  // namespace

TEST(Toml, ReadsEveryTypeWithItsLine) {
  const Table table = parse_toml(
      "steps = 1_000\nrate = 3e-4\nname = \"a\\nb\"\non = true\n\n[model]\nlist = [1, 2.5, 'x']\n"
      "inline = {a = 1}\n",
      "run.toml");
  EXPECT_EQ(get<int64_t>(table, "steps"), 1000);
  EXPECT_EQ(get<double>(table, "rate"), 3e-4);
  EXPECT_EQ(get<std::string>(table, "name"), "a\nb");
  EXPECT_TRUE(get<bool>(table, "on"));
  EXPECT_EQ(table.find("on")->line, 4);
  const Table model = get<Table>(table, "model");
  EXPECT_EQ(get<Array>(model, "list").size(), 3u);
  EXPECT_EQ(model.find("inline")->line, 8);
}

TEST(Toml, KeepsTheOrderOfKeys) {
  const Table table = parse_toml("z = 1\na = 2\n[q]\nm = 1\nb = 2\n[c]\n", "x");
  EXPECT_EQ(table.keys(), (std::vector<std::string>{"z", "a", "q", "c"}));
  EXPECT_EQ(get<Table>(table, "q").keys(), (std::vector<std::string>{"m", "b"}));
}

TEST(Toml, WrittenSettingsReadBackTheSame) {
  const std::string text = R"(
title = "a \"quoted\" \\ name\twith\u0001control"
tiny = 1e-300
whole = 3.0
big = 9223372036854775807
none = []
"odd key" = {"inner key" = [1, {x = 2}]}
[model]
d_model = 64
[model.moe.router]
kind = "topk"
[[model.moe.balance]]
kind = "switch"
[[model.moe.balance]]
kind = "z_loss"
[model.moe.balance.inner]
deep = [[1, 2], [3]]
[empty]
)";
  const Table once = parse_toml(text, "x");
  const std::string written = write_toml(once);
  EXPECT_TRUE(same(once, parse_toml(written, "y"))) << written;
  EXPECT_EQ(write_toml(parse_toml(written, "y")), written);
  EXPECT_NE(written.find("\n[[model.moe.balance]]\nkind = \"z_loss\"\n"), std::string::npos);
  EXPECT_EQ(written.find("[model.moe]"), std::string::npos) << "a header that says nothing";
}

TEST(Toml, NonFiniteNumbersSurvive) {
  Table table;
  table.set("a", Value(std::numeric_limits<double>::infinity()));
  table.set("b", Value(std::numeric_limits<double>::quiet_NaN()));
  EXPECT_EQ(write_toml(parse_toml(write_toml(table), "x")), "a = inf\nb = nan\n");
}

TEST(Toml, RefusesToWriteWhatItCouldNotRead) {
  Table table;
  table.set("a", Value("\xff\xfe"));
  EXPECT_ERROR(write_toml(table), "settings to be written");
  Table nothing;
  nothing.set("a", Value());
  EXPECT_THROW(write_toml(nothing), ConfigError);
}

TEST(Toml, ErrorsNameFileLineAndColumn) {
  EXPECT_ERROR(parse_toml("a = 1\nb = \n", "run.toml"), "[config/toml] 'run.toml', line 2, column");
  EXPECT_ERROR(parse_toml("a = 1\na = 2\n", "run.toml"), "line 2");
  EXPECT_THROW(parse_toml("a = \"\xc3\x28\"", "x"), ConfigError);
  EXPECT_ERROR(parse_toml("[[[a]]]", "x"), "line 1");
  EXPECT_THROW(parse_toml("a = 99999999999999999999", "x"), ConfigError);
  EXPECT_THROW(parse_toml(std::string("a\0b = 1", 7), "x"), ConfigError);
}

TEST(Toml, RefusesDates) {
  EXPECT_ERROR(parse_toml("a = 1\nb = 2020-01-01\n", "x"),
               "line 2, column 5: expected a string, number, boolean, list or table, got a date");
  EXPECT_ERROR(parse_toml("a = [07:32:00]", "x"), "got a date or time");
}

TEST(Toml, RefusesDeepNesting) {
  for (const auto& text :
       {repeated("[", 100000), "a = " + repeated("[", 100000), repeated("a.", 100000) + "a = 1",
        "[" + repeated("a . ", 100000) + "a]", "x = " + repeated("{a = ", 5000),
        repeated("\"a\".", 100000) + "a = 1", "x = {" + repeated("a.", 500) + "a = 1}",
        "a = " + repeated("[", 40) + repeated("]", 40),
        "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p = " + repeated("{a.b.c = ", 8) + "1" + repeated("}", 8)})
    EXPECT_THROW(parse_toml(text, "x"), ConfigError) << text.substr(0, 20);
  EXPECT_NO_THROW(parse_toml("a = " + repeated("[", 20) + repeated("]", 20), "x"));
}

TEST(Toml, DotsInStringsAndCommentsAreNoKeys) {
  const std::string dots = repeated(".", 100);
  const Table table =
      parse_toml("a = \"" + dots + "\" # " + dots + "\nb = '''\n" + dots + "'''\nc = '" + dots +
                     "'\nd = \"\"\"\\\"\"\" " + dots + "\"\"\"\"\n",
                 "x");
  EXPECT_EQ(get<std::string>(table, "a"), dots);
  EXPECT_EQ(get<std::string>(table, "d"), "\"\"\" " + dots + "\"");
}

TEST(Toml, RefusesTooMuch) {
  std::string keys;
  for (int i = 0; i < 1025; ++i) keys += "k" + std::to_string(i) + " = 1\n";
  EXPECT_ERROR(parse_toml(keys, "x"), "at most 1024 keys");
  EXPECT_ERROR(parse_toml("a = [" + repeated("1,", (1 << 20) + 10) + "1]", "x"), "values");
  EXPECT_ERROR(parse_toml(repeated("[[a]]\n", (1 << 16) + 1), "x"), "keys and sections");
  EXPECT_ERROR(parse_toml(std::string((16 << 20) + 1, ' '), "x"), "at most 16777216 bytes");
}

TEST(Toml, ReadsFilesAndRefusesOthers) {
  test::TemporaryFolder folder;
  std::ofstream(folder / "a.toml") << "steps = 3\n";
  EXPECT_EQ(get<int64_t>(read_toml(folder / "a.toml"), "steps"), 3);
  EXPECT_ERROR(read_toml(folder / "b.toml"), "found nothing there");
  EXPECT_ERROR(read_toml(folder.path()), "no file");
  EXPECT_THROW(read_toml("/dev/zero"), ConfigError);
}

}  // namespace moe::config
