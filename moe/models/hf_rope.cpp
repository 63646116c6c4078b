#include <cmath>

#include <moe/base/error.h>
#include <moe/models/hf_rope.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfHfRope = "models/config.json";

/// Keys of text models that say nothing: positions of text are the same on every axis.
const std::vector<std::string> kOfOtherAxes = {"mrope_section", "mrope_interleaved"};
/// Other kinds of layers, which the same table describes.
const std::vector<std::string> kLayerKinds = {"full_attention", "sliding_attention",
                                              "chunked_attention", "linear_attention"};

std::string rope_type_of(const HfConfig& table) {
  const std::string type = table.text("rope_type", table.text("type", "default"));
  if (type == "su") return "longrope";  // as the first Phi-3 files call it
  for (const char* key : {"rope_type", "type"})
    table.only(key,
               {"default", "linear", "dynamic", "yarn", "llama3", "longrope", "su", "proportional"},
               "another scaling of positions");
  return type == "default" ? "none" : type;
}

std::vector<double> factors(const HfConfig& table, const char* key) {
  std::vector<double> out;
  const auto wrong = [&] {
    fail(kPlaceOfHfRope, "expected a list of numbers at '", key, "' of the rotary positions in ",
         table.source(), ". Correct the file.");
  };
  const Value* value = table.has(key) ? table.settings().find(key) : nullptr;
  const Array* list = value ? value->as<Array>() : nullptr;
  if (!list) wrong();
  for (const Value& one : *list) {
    if (const auto* whole = one.as<int64_t>())
      out.push_back(static_cast<double>(*whole));
    else if (const auto* number = one.as<double>())
      out.push_back(*number);
    else
      wrong();
  }
  return out;
}

/// Positions of the training before: beside the table, where the file says it there, as Phi does.
int64_t original_length(const HfConfig& config, const HfConfig& table, bool nested) {
  constexpr const char* kKey = "original_max_position_embeddings";
  const int64_t inside = table.size(kKey, 0), beside = nested ? 0 : config.size(kKey, 0);
  if (beside > 0) return beside;
  return inside > 0 ? inside : config.size("max_position_embeddings");
}

/// `factor`, or else how much longer the context is.
double factor_or_ratio(const HfConfig& config, const HfConfig& table, int64_t original) {
  if (table.has("factor")) return table.number("factor");
  return static_cast<double>(config.size("max_position_embeddings")) /
         static_cast<double>(original);
}

/// A setting that counts as absent where it is 0.
double number_or(const HfConfig& table, const char* key, double fallback) {
  const double value = table.number(key, fallback);
  return value == 0 ? fallback : value;
}

void read_scaling(Rope& rope, const HfConfig& config, const HfConfig& table, bool nested) {
  const auto& scaling = rope.scaling;
  if (scaling == "linear") {
    rope.factor = table.number("factor");
  } else if (scaling == "proportional") {
    rope.factor = table.number("factor", 1);
  } else if (scaling == "dynamic") {
    rope.alpha = table.number("alpha", 0);
    rope.factor = rope.alpha > 0 ? table.number("factor", 1) : table.number("factor");
    rope.original_length = config.size("max_position_embeddings");
    table.ignore({"original_max_position_embeddings"});  // the reference counts by the length above
    // Of other scalings; files of Hunyuan hold them.
    if (rope.alpha > 0) table.ignore({"beta_fast", "beta_slow", "mscale", "mscale_all_dim"});
  } else if (scaling == "llama3") {
    rope.original_length = original_length(config, table, nested);
    rope.factor = table.number("factor");
    rope.low_frequency_factor = table.number("low_freq_factor");
    rope.high_frequency_factor = table.number("high_freq_factor");
  } else if (scaling == "yarn") {
    rope.original_length = original_length(config, table, nested);
    rope.factor = factor_or_ratio(config, table, rope.original_length);
    rope.attention_factor = table.number("attention_factor", 0);
    rope.beta_fast = number_or(table, "beta_fast", 32);
    rope.beta_slow = number_or(table, "beta_slow", 1);
    rope.truncate = table.flag("truncate", true);
    rope.mscale = table.number("mscale", 0);
    rope.mscale_all_dim = table.number("mscale_all_dim", 0);
  } else if (scaling == "longrope") {
    rope.original_length = original_length(config, table, nested);
    rope.factor = factor_or_ratio(config, table, rope.original_length);
    rope.attention_factor = table.number("attention_factor", 0);
    rope.short_factors = factors(table, "short_factor");
    rope.long_factors = factors(table, "long_factor");
    rope.short_mscale = table.number("short_mscale", 0);
    rope.long_mscale = table.number("long_mscale", 0);
  }
}

bool has_table(const HfConfig& config, const char* key) {
  return config.has(key) && (!config.settings().find(key)->as<Table>() ||
                             !config.settings().find(key)->as<Table>()->empty());
}

}  // namespace

Rope rope_of(const HfConfig& config, double default_theta, const char* layer_kind,
             double default_share) {
  Rope out;
  out.theta = config.number("rope_theta", default_theta);
  out.share = config.number("partial_rotary_factor", default_share);
  config.ignore({"original_max_position_embeddings"});  // scalings that need it read it
  const bool published = has_table(config, "rope_scaling"),
             newer = has_table(config, "rope_parameters");
  check(!published || !newer ||
            config.settings().find("rope_scaling")->text() ==
                config.settings().find("rope_parameters")->text(),
        kPlaceOfHfRope, "expected 'rope_scaling' or 'rope_parameters' in ", config.source(),
        ", got both, which differ. Remove one.");
  HfConfig table = config.inside(published ? "rope_scaling" : "rope_parameters");
  bool nested = false;
  if (layer_kind) {
    table.ignore(kLayerKinds);
    const bool named = table.settings().find(layer_kind) != nullptr;
    nested = named && table.has(layer_kind);
    if (named && !nested) {  // null: layers of the kind have no positions
      out.kind = "none";
      return out;
    }
    if (nested) table = table.inside(layer_kind);
  }
  table.ignore(kOfOtherAxes);
  out.theta = table.number("rope_theta", out.theta);
  out.share = table.number("partial_rotary_factor", out.share);
  out.scaling = rope_type_of(table);
  read_scaling(out, config, table, nested);
  out.validate(concat("rotary positions of ", config.source()));
  return out;
}

namespace {

/// Everything but theta and share, as the published files name it.
Table scaling_table(const Rope& rope) {
  Table out;
  const auto list = [](const std::vector<double>& values) {
    Array array;
    for (const double value : values) array.emplace_back(value);
    return array;
  };
  const auto unless_zero = [&](const char* key, double value) {
    if (value != 0) out.set(key, value);
  };
  out.set("rope_type", rope.scaling);
  if (rope.scaling != "proportional" || rope.factor != 1) out.set("factor", rope.factor);
  if (rope.scaling == "dynamic") unless_zero("alpha", rope.alpha);
  if (rope.scaling == "llama3") {
    out.set("low_freq_factor", rope.low_frequency_factor);
    out.set("high_freq_factor", rope.high_frequency_factor);
  }
  if (rope.scaling == "yarn") {
    out.set("beta_fast", rope.beta_fast);
    out.set("beta_slow", rope.beta_slow);
    out.set("truncate", rope.truncate);
    unless_zero("mscale", rope.mscale);
    unless_zero("mscale_all_dim", rope.mscale_all_dim);
  }
  if (rope.scaling == "longrope") {
    out.set("short_factor", list(rope.short_factors));
    out.set("long_factor", list(rope.long_factors));
    unless_zero("short_mscale", rope.short_mscale);
    unless_zero("long_mscale", rope.long_mscale);
  }
  if (rope.scaling == "yarn" || rope.scaling == "longrope")
    unless_zero("attention_factor", rope.attention_factor);
  if (rope.scaling == "yarn" || rope.scaling == "llama3" || rope.scaling == "longrope")
    out.set("original_max_position_embeddings", rope.original_length);
  return out;
}

}  // namespace

void write_rope(Table& config, const Rope& rope, const char* layer_kind) {
  if (layer_kind) {
    const Value* old = config.find("rope_parameters");
    Table kinds = old && old->as<Table>() ? *old->as<Table>() : Table();
    Table mine = rope.scaling == "none" ? Table() : scaling_table(rope);
    if (rope.scaling == "none") mine.set("rope_type", "default");
    mine.set("rope_theta", rope.theta);
    mine.set("partial_rotary_factor", rope.share);  // families differ in what its absence means
    kinds.set(layer_kind, rope.kind == "none" ? Value() : Value(std::move(mine)));
    config.set("rope_parameters", std::move(kinds));
    return;
  }
  config.set("rope_theta", rope.theta);
  if (rope.share != 1) config.set("partial_rotary_factor", rope.share);
  if (rope.scaling != "none") config.set("rope_scaling", scaling_table(rope));
}

}  // namespace moe::models
