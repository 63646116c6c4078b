#pragma once
// Settings of a family's config.json one by one: what they say in the options, that they come back,
// and what is refused.

#include <map>
#include <string>
#include <tests/support/message_of.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <moe/formats/json_table.h>
#include <moe/models/decoder_family.h>
#include <moe/models/hugging_face.h>

namespace moe::test {

/// A change of config.json, and what must come of it.
struct Setting {
  const char* change;  // JSON: keys to set
  /// Dotted options with their values as TOML: {"blocks[1].mixer.window", "4"}.
  std::vector<std::pair<const char*, const char*>> options;
  /// Names of tensors that checkpoints then have; behind '!' those that they do not have.
  std::vector<const char*> tensors = {};
};

/// A change of config.json that is refused, and a part of the message.
struct Refusal {
  const char *change, *message;
};

struct FamilySettings {
  const char* config;  // JSON; every key matters and is of the only type that it may have
  std::vector<Setting> settings;
  std::vector<Refusal> refusals;
};

inline Table with_change(const char* config, const char* change) {
  Table out = formats::parse_json_table(config, "test", "'config.json'");
  for (const auto& [key, value] : formats::parse_json_table(change, "test", "'change'"))
    out.set(key, value);
  return out;
}

inline models::HfConfig config_file(const Table& settings) {
  return {settings, "'config.json'"};
}

inline models::ModelSpec spec_of_config(const Table& settings) {
  const auto config = config_file(settings);
  return models::family_of(config)->options(config);
}

inline void expect_setting(const char* config, const Setting& setting) {
  SCOPED_TRACE(setting.change);
  const Table settings = with_change(config, setting.change);
  const std::string family = models::family_name(config_file(settings));
  models::ModelSpec spec;
  ASSERT_EQ(message_of([&] { spec = spec_of_config(settings); }), "");
  std::map<std::string, std::string> values;
  for (const auto& [key, was, is] : config::differences(Table(), spec.options)) values[key] = is;
  for (const auto& [key, value] : setting.options) {
    ASSERT_TRUE(values.contains(key)) << key;
    EXPECT_EQ(values[key], value) << key;
  }
  const auto model = models::make_model(spec);
  std::map<std::string, bool> names;
  const auto list_names = [&] {
    const auto map = models::tensor_map(family, spec, *model);
    for (const auto& tensor : map.tensors()) names[tensor.name] = true;
  };
  ASSERT_EQ(message_of(list_names), "");
  for (const std::string name : setting.tensors)
    EXPECT_EQ(names.contains(name.starts_with('!') ? name.substr(1) : name), name[0] != '!')
        << name;
  Table written;
  ASSERT_EQ(message_of([&] { written = models::family_of(family)->config(spec); }), "");
  EXPECT_EQ(models::family_name(config_file(written)), family);
  const auto again = models::options_of<models::DecoderOptions>(spec_of_config(written));
  for (const auto& [key, was, is] :
       models::differences(models::options_of<models::DecoderOptions>(spec), again))
    ADD_FAILURE() << key << " = " << was << " came back as " << is;
}

/// Every setting of `family`; refusals of its own, of keys that nobody knows, and of values of
/// another type.
inline void expect_settings(const FamilySettings& family) {
  SCOPED_TRACE(family.config);
  const auto refusal = [&](const char* change) {
    return message_of([&] { spec_of_config(with_change(family.config, change)); });
  };
  expect_setting(family.config, {"{}", {}});
  for (const auto& setting : family.settings) expect_setting(family.config, setting);
  for (const auto& [change, message] : family.refusals)
    EXPECT_TRUE(contains(refusal(change), message)) << change << ": " << refusal(change);
  EXPECT_TRUE(contains(refusal(R"({"secret_scale": 2.5})"), "'secret_scale' = 2.5"));
  const Table settings = with_change(family.config, "{}");
  for (const auto& [key, value] : settings) {
    if (key == "model_type" || value.empty()) continue;
    Table changed = settings;
    changed.set(key, Value(Array{Value(Table())}));
    const auto message = message_of([&] { spec_of_config(changed); });
    EXPECT_TRUE(contains(message, key)) << key << ": " << message;
  }
}

}  // namespace moe::test
