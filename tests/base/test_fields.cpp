// Reading settings into options: unknown keys are listed all at once.

#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <moe/base/registry.h>

namespace moe {
namespace {

struct Inner {
  int64_t width = 1;
  std::string kind = "plain";
  template <class Visitor>
  void fields(Visitor& v) {
    v("width", width, "");
    v("kind", kind, "");
  }
};

struct PlainOptions {
  double depth = 0;
  template <class Visitor>
  void fields(Visitor& v) {
    v("depth", depth, "");
  }
};

struct Shape {};
struct Thing {};
struct Plain : Thing {
  Plain(const Shape&, const PlainOptions&) {}
};

Registry<Thing, Shape>& things() {
  static auto* const registry = [] {
    auto* made = new Registry<Thing, Shape>("thing");
    made->add("plain", "", kind_of<Thing, Shape, Plain, PlainOptions>());
    return made;
  }();
  return *registry;
}

/// A kind by name, whose options are the other keys.
struct Spec {
  std::string kind = "plain";
  Table options = {};
  template <class Visitor>
  void fields(Visitor& v) {
    v("kind", kind, "");
    v.rest(options);
  }
  void find_unknown(UnknownKeys& unknown) const { things().find_unknown(kind, options, unknown); }
  void validate(const std::string& place) const { things().at(kind).check(options, place); }
};

struct Outer {
  bool on = false;
  Inner inner = {};
  std::vector<Inner> list = {};
  Spec spec = {};
  Table free = {};
  template <class Visitor>
  void fields(Visitor& v) {
    v("on", on, "");
    v("inner", inner, "");
    v("list", list, "");
    v("spec", spec, "");
    v("free", free, "");
  }
};

Table table_of(std::initializer_list<std::pair<std::string, Value>> entries) {
  Table out;
  for (const auto& [key, value] : entries) out.set(key, value);
  return out;
}

std::string message(const Table& table, const std::string& path = "") {
  Outer options;
  return test::message_of([&] { read_fields(options, table, path); });
}

TEST(Fields, ListsEveryUnknownKeyAtOnce) {
  Value lined(1);
  lined.line = 7;
  const Table table =
      table_of({{"onn", Value(true)},
                {"inner", table_of({{"widht", lined}})},
                {"list", Array{table_of({{"width", Value(2)}}), table_of({{"zzz", Value(1)}})}},
                {"spec", table_of({{"depht", Value(1.0)}})},
                {"free", table_of({{"anything", Value(1)}})}});
  EXPECT_EQ(message(table),
            "[config] expected known keys only, got 4 unknown. Correct or remove them:\n"
            "  'inner.widht' (line 7). Did you mean 'width'?\n"
            "  'list[1].zzz'. Known here: width, kind.\n"
            "  'spec.depht'. Did you mean 'depth'?\n"
            "  'onn'. Did you mean 'on'?");
}

TEST(Fields, OneUnknownKeyIsOneLine) {
  EXPECT_EQ(message(table_of({{"inner", table_of({{"a b", Value(1)}})}}), "top"),
            "[config] expected known keys only, got 'top.inner.\"a b\"'. Known here: width, kind. "
            "Correct or remove it.");
}

TEST(Fields, UnknownKeysComeBeforeWrongValues) {
  const auto text = message(table_of({{"on", Value(3)}, {"spec", table_of({{"x", Value(1)}})}}));
  EXPECT_PRED2(test::contains, text, "got 'spec.x'");
  EXPECT_PRED2(test::contains, message(table_of({{"on", Value(3)}})), "true or false for 'on'");
}

TEST(Fields, AKindThatIsNotRegisteredIsWhatIsWrong) {
  const auto text = message(table_of({{"spec", table_of({{"kind", Value("plane")}, {"x", 1}})}}));
  EXPECT_PRED2(test::contains, text, "Did you mean 'plain'?");
}

}  // namespace
}  // namespace moe
