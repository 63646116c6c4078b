#pragma once
// Options that users name by type: moe::SigmoidRouter{.bias_rate = 1e-3}.

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <moe/base/fields.h>

namespace moe::test {

inline std::string text_of(const Table& table) {
  return Value(table).text();
}

/// Changes every number of options.
struct OtherNumbers {
  template <class T>
  void operator()(const char*, T& field, const char*) {
    if constexpr (std::same_as<T, bool>)
      field = !field;
    else if constexpr (std::same_as<T, int64_t>)
      field += 3;
    else if constexpr (std::same_as<T, double>)
      field = field * 0.5 + 0.125;
  }
  void rest(Table&) {}
};

/// A kind's default options are those that the registry fills in, and whatever they are, they are
/// all in the spec. Returns the name of the kind.
template <class Options, class Spec, class Registry>
std::string expect_public_options(const Registry& registry) {
  const Spec spec = Options{};
  SCOPED_TRACE(spec.kind);
  EXPECT_EQ(text_of(spec.options), text_of(write_fields(Options{})));
  const std::vector<FieldInfo> fields = registry.at(spec.kind).fields();
  EXPECT_EQ(spec.options.size(), fields.size());
  for (const FieldInfo& field : fields) {
    const Value* const value = spec.options.find(field.name);
    EXPECT_TRUE(value && value->text() == field.value) << field.name;
  }
  Options other;
  OtherNumbers change;
  other.fields(change);
  const Spec changed = other;
  Options again;
  detail::Reader reader{changed.options, spec.kind};
  again.fields(reader);
  EXPECT_EQ(text_of(write_fields(again)), text_of(write_fields(other)));
  return spec.kind;
}

}  // namespace moe::test
