#pragma once
// Hugging Face model families: config.json and tensor names, both ways.

#include <initializer_list>

#include <moe/base/registry.h>
#include <moe/config/differences.h>
#include <moe/models/hf_config.h>
#include <moe/models/model.h>
#include <moe/models/name_map.h>

namespace moe::models {

/// A family of published models: the meaning of its config.json and the names of its tensors, both
/// ways. Extension point: one file in families/ and one line in families.def add one; its name is
/// the `model_type` of config.json.
class Family {
 public:
  virtual ~Family() = default;

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
/// The family that config.json names. Throws moe::Error for one that is not registered, with the
/// nearest name.
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
class FamilyFrom final : public Family {
  using Options = decltype(read(std::declval<const HfConfig&>()));

 public:
  FamilyFrom(const FamilyShape&, const NoOptions&) {}

  ModelSpec options(const HfConfig& config) const override {
    Options out = read(config);
    config.refuse_unread();
    out.validate(config.source());
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
/// NAME::config.
#define MOE_FAMILY(name)                                                      \
  using name##_family = FamilyFrom<name::options, name::names, name::config>; \
  MOE_KIND(families, name, name##_family, NoOptions)
