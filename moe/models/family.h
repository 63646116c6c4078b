#pragma once
// Hugging Face model families: config.json and tensor names, both ways.

#include <initializer_list>
#include <string>
#include <vector>

#include <moe/base/registry.h>
#include <moe/config/differences.h>
#include <moe/models/hf_config.h>
#include <moe/models/model.h>
#include <moe/models/name_map.h>

namespace moe::models {

/// A family of published models: the meaning of its config.json and the names of its tensors, both
/// ways. Extension point: one file in families/ and one line in families.def add one; its name is
/// the `model_type` of config.json.
///
/// Multimodal directories need nothing here: where config.json has a `text_config`, a family sees
/// that table as its config.json, is found by the model_type in it, and the names may begin with
/// `language_model.` or `model.language_model.`; what else stands in them is passed over.
class Family {
 public:
  virtual ~Family() = default;

  /// Further values of `model_type`, or of the first of `architectures`, that mean this family.
  virtual std::vector<std::string> aliases() const { return {}; }
  /// The model that config.json describes. Throws moe::Error naming what this version does not
  /// know.
  virtual ModelSpec options(const HfConfig& config) const = 0;
  virtual NameMap names(const ModelSpec& spec) const = 0;
  /// config.json of a model. Throws moe::Error listing settings that config.json cannot express.
  virtual Table config(const ModelSpec& spec) const = 0;
};

/// What every family is made for: nothing.
struct FamilyShape {};

using FamilyRegistry = Registry<Family, FamilyShape>;

/// The built-in kinds of families.def and those added at run time.
FamilyRegistry& families();

/// The family `name` itself. Throws ConfigError with the nearest name when there is no such.
std::shared_ptr<const Family> family_of(const std::string& name);
/// The registered name of the family that config.json names: by its architecture where a family
/// claims that, else by its model_type. Throws moe::Error for one that is not known, with the
/// nearest name.
std::string family_name(const HfConfig& config);
std::shared_ptr<const Family> family_of(const HfConfig& config);

/// The options of an architecture from the spec of a model, which must be of it.
template <class Options>
Options options_of(const ModelSpec& spec) {
  const ModelSpec any = Options();
  check<ConfigError>(spec.architecture == any.architecture, "models/family",
                     "expected a model of the architecture '", any.architecture, "', got '",
                     spec.architecture, "'. Name another family.");
  Options out;
  read_fields(out, spec.options, "model");
  return out;
}

/// The options of the kind `Options` in a spec of a kind by name. Throws moe::Error for another
/// kind.
template <class Options, class Spec>
Options kind_options(const Spec& spec) {
  const Spec any = Options();
  check(spec.kind == any.kind, "models/family", "expected '", any.kind,
        "', which models of the family have, got '", spec.kind, "'. Name another family.");
  Options out;
  read_fields(out, spec.options, spec.kind);
  return out;
}

Table table_of(std::initializer_list<Table::Entry> entries);

/// Throws moe::Error listing `found` unless there is none: what config.json of a family cannot say.
void refuse_differences(const std::vector<config::Difference>& found);

/// A family from three functions on the options of its architecture:
///
///   Options options(const HfConfig&);  NameMap names(const Options&);  Table config(const
///   Options&);
///
/// `config` may take the model for one of the family: what it leaves out is found by reading it
/// back, with differences(const Options&, const Options&) of the architecture.
template <auto read, auto names_of, auto write>
class FamilyFrom : public Family {
  using Options = decltype(read(std::declval<const HfConfig&>()));

 public:
  FamilyFrom(const FamilyShape&, const NoOptions&) {}

  ModelSpec options(const HfConfig& config) const override {
    const HfConfig text = config.text_part();
    Options out = read(text);
    text.refuse_unread();
    out.validate(text.source());
    return out;
  }
  NameMap names(const ModelSpec& spec) const override {
    return names_of(options_of<Options>(spec));
  }
  Table config(const ModelSpec& spec) const override {
    const auto ours = options_of<Options>(spec);
    Table out = write(ours);
    refuse_differences(differences(ours, read(HfConfig(out, "its config.json"))));
    return out;
  }
};

}  // namespace moe::models

/// In families/NAME.cpp, inside namespace moe::models: the functions NAME::options, NAME::names and
/// NAME::config, then the aliases: MOE_FAMILY(deepseek_v3, "kimi_k2").
#define MOE_FAMILY(name, ...)                                                         \
  struct name##_family final : FamilyFrom<name::options, name::names, name::config> { \
    using FamilyFrom::FamilyFrom;                                                     \
    std::vector<std::string> aliases() const override { return {__VA_ARGS__}; }       \
  };                                                                                  \
  MOE_KIND(families, name, name##_family, NoOptions)
