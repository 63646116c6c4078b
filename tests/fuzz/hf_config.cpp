// config.json of a published model, of any family: the model that it describes, unfilled, and its
// way back. The families' limits must hold before anything is made of a size.

#include <moe/formats/json_table.h>
#include <moe/models/configured.h>
#include <moe/models/counts.h>
#include <moe/models/family.h>

#include "tests/fuzz/targets.h"

namespace moe::fuzz {

namespace {

/// A model of more is not made: its modules, thousands of them, are what its configuration asks
/// for, and take their time.
constexpr size_t kMostLayersMade = 4;

size_t layers_of(const models::ModelSpec& spec) {
  size_t out = 0;
  for (const char* key : {"blocks", "encoder", "decoder"})
    if (const Value* list = spec.options.find(key))
      if (const auto* blocks = list->as<Array>()) out += blocks->size();
  return out;
}

models::HfConfig config_of(const std::string& text) {
  return {formats::parse_json_table(text, "models/config.json", "'config.json'"), "'config.json'"};
}

}  // namespace

void hf_config(Bytes input) {
  const std::string text(text_of(input));
  std::string family;
  models::ModelSpec spec;
  const auto read = [&](const std::string& document) {
    const auto config = config_of(document);
    family = models::family_name(config);
    spec = models::family_of(family)->options(config);
  };
  if (!accepts([&] { read(text); })) return;

  if (layers_of(spec) <= kMostLayersMade)
    accepts([&] { models::configured("config.json", [&] { return models::count(spec); }); });
  accepts([&] { models::family_of(family)->names(spec); });

  // What the family would write for the model must be the model again.
  const models::ModelSpec first = spec;
  const std::string first_family = family;
  std::string written;
  if (!accepts(
          [&] { written = formats::format_json_table(models::family_of(family)->config(first)); }))
    return;
  require(accepts([&] { read(written); }), "what was written is refused: ", written);
  require(family == first_family, "the family became ", family);
  require(accepts([&] {
            require(formats::format_json_table(models::family_of(family)->config(spec)) == written,
                    "config.json changed when written twice: ", written);
          }),
          "what was read of the written config.json cannot be written: ", written);
}

}  // namespace moe::fuzz
