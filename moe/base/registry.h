#pragma once
// Tables of kinds (routers, experts, …): name -> help, typed options and a maker. Users of the
// installed library add to them at run time:
//
//   moe::routing::routers().add<MyRouter, MyOptions>("mine", "what it does");
//
// A folder that owns a family of kinds has, in its header, a registry and how options name a kind:
//
//   using RouterRegistry = Registry<Router, RouterShape>;
//   RouterRegistry& routers();
//   using RouterSpec = KindSpec<routers, "topk">;  // "topk" where they do not say
//
// in its .cpp, inside its namespace, that function, filled from a table of lines X(NAME, "help"):
//
//   #define MOE_REGISTRY routers
//   // The family in messages; then, if another, its name in `moe inspect --list`.
//   #define MOE_REGISTRY_NAMES "router"
//   #define MOE_REGISTRY_TABLE <moe/routing/routers.def>
//   #include <moe/base/fill_registry.inc>
//
// and in kinds/NAME.cpp, at the end of the namespace, what that line stands for, a class with the
// constructor (const RouterShape&, const Options&):
//
//   MOE_KIND(routers, NAME, Class, Options)
//
// Never by static self-registration, which static linking loses. Options for users are a struct in
// kinds/NAME.h, an aggregate in namespace moe that converts to the spec:
//
//   operator RouterSpec() const { return spec_of<RouterSpec>("NAME", *this); }

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <type_traits>

#include <moe/base/fields.h>

namespace moe {

/// Options of a kind that has none.
struct NoOptions {
  template <class Visitor>
  void fields(Visitor&) {}
};

/// What is known of a kind without making one. `Shape` is what every maker of the family is given.
template <class Interface, class Shape>
struct Kind {
  std::string help;
  std::function<std::vector<FieldInfo>()> fields;
  /// Notes the settings that the kind's options do not name.
  std::function<void(const Table& settings, UnknownKeys& unknown)> find_unknown;
  /// Reads the settings into the kind's options and throws ConfigError if they do not fit.
  std::function<void(const Table& settings, const std::string& path)> check;
  /// The settings with every default filled in, also those that options.resolve() chooses.
  std::function<Table(const Table& settings)> resolve;
  std::function<std::shared_ptr<Interface>(const Shape&, const Table& settings)> make;
};

/// The Kind whose members `make` makes, with options of type `Options`.
template <class Interface, class Shape, class Options, class Make>
Kind<Interface, Shape> kind_made_by(Make make) {
  const auto read = [](const Table& settings, const std::string& path) {
    Options options{};
    read_fields(options, settings, path);
    return options;
  };
  return {.help = "",
          .fields = describe_fields<Options>,
          .find_unknown = find_unknown_keys<Options>,
          .check = [read](const Table& settings, const std::string& path) { read(settings, path); },
          .resolve =
              [read](const Table& settings) {
                Options options = read(settings, "");
                if constexpr (requires { options.resolve(); }) options.resolve();
                return write_fields(options);
              },
          .make = [read, make = std::move(make)](const Shape& shape, const Table& settings)
              -> std::shared_ptr<Interface> { return make(shape, read(settings, "")); }};
}

/// The Kind of `Class(const Shape&, const Options&)`.
template <class Interface, class Shape, class Class, class Options>
Kind<Interface, Shape> kind_of() {
  return kind_made_by<Interface, Shape, Options>([](const Shape& shape, const Options& options) {
    return std::make_shared<Class>(shape, options);
  });
}

/// Named kinds of one family. Thread-safe.
template <class Interface, class Shape>
class Registry {
 public:
  using Entry = Kind<Interface, Shape>;

  /// What is known of `Class(const Shape&, const Options&)`.
  template <class Class, class Options>
  static Entry entry_of() {
    return kind_of<Interface, Shape, Class, Options>();
  }

  /// `family` names the registry in messages ("router", "expert", …).
  /// `list_name` is what `moe inspect --list` calls it; the first word of the family where not
  /// given.
  explicit Registry(std::string family, std::string list_name = "")
      : family_(std::move(family)),
        list_name_(list_name.empty() ? family_.substr(0, family_.find(' '))
                                     : std::move(list_name)) {}

  void add(const std::string& name, const std::string& help, Entry entry) {
    std::lock_guard lock(mutex_);
    entry.help = help;
    check(kinds_.emplace(name, std::move(entry)).second, family_, "expected a new name, got '",
          name, "' which is registered already. Choose another name.");
  }

  /// Makes `Class(const Shape&, const Options&)` known as `name`.
  template <class Class, class Options = NoOptions>
  void add(const std::string& name, std::string help) {
    add(name, std::move(help), entry_of<Class, Options>());
  }

  /// Throws ConfigError with a suggestion when there is no such kind.
  Entry at(const std::string& name) const {
    std::lock_guard lock(mutex_);
    const auto found = kinds_.find(name);
    if (found == kinds_.end())
      fail<ConfigError>(family_, "expected a registered ", family_, ", got '", name, "'.",
                        did_you_mean(name, names_unlocked()),
                        " Registered: ", join(names_unlocked()), ".");
    return found->second;
  }

  /// Lets the kind `name` note which settings it does not know. One that is not registered notes
  /// nothing: `at` refuses it.
  void find_unknown(const std::string& name, const Table& settings, UnknownKeys& unknown) const {
    std::unique_lock lock(mutex_);
    const auto found = kinds_.find(name);
    const auto find = found == kinds_.end() ? nullptr : found->second.find_unknown;
    lock.unlock();
    if (find) find(settings, unknown);
  }

  std::vector<std::string> names() const {
    std::lock_guard lock(mutex_);
    return names_unlocked();
  }

  const std::string& family() const { return family_; }
  const std::string& list_name() const { return list_name_; }

 private:
  std::vector<std::string> names_unlocked() const {
    std::vector<std::string> out;
    for (const auto& [name, kind] : kinds_) out.push_back(name);
    return out;
  }

  std::string family_, list_name_;
  mutable std::mutex mutex_;
  std::map<std::string, Entry> kinds_;
};

/// The type of the registry that a function (routers, …) gives.
template <auto registry>
using RegistryOf = std::remove_reference_t<decltype(registry())>;

/// The name of a kind as a template argument.
template <size_t N>
struct KindName {
  char text[N];
  constexpr KindName(const char (&name)[N]) {
    for (size_t i = 0; i < N; ++i) text[i] = name[i];
  }
};

/// What a spec of a kind does with its name and options; `registry` is the function that gives the
/// registry.
template <auto registry>
struct SpecFields {
  template <class Visitor>
  static void kind(Visitor& v, std::string& kind) {
    static const std::string help =
        concat("a registered ", registry().family(), " (`moe inspect --list ",
               registry().list_name(), "`); further keys are its options");
    v("kind", kind, help.c_str());
  }
  template <class Spec>
  static void find_unknown(const Spec& spec, UnknownKeys& unknown) {
    registry().find_unknown(spec.kind, spec.options, unknown);
  }
  template <class Spec>
  static void validate(const Spec& spec, const std::string& place) {
    registry().at(spec.kind).check(spec.options, place);
  }
  /// Fills in the defaults of the kind's options.
  template <class Spec>
  static void resolve(Spec& spec) {
    spec.options = registry().at(spec.kind).resolve(spec.options);
  }
  template <class Spec, class Shape>
  static auto make(const Spec& spec, const Shape& shape) {
    return registry().at(spec.kind).make(shape, spec.options);
  }
};

/// A kind by name in options; the other keys are that kind's own options. A kind's public option
/// struct converts to it, so that {.router = SigmoidRouter{.bias_rate = 1e-3}} works as well as
/// {.router = {.kind = "sigmoid"}}.
template <auto registry, KindName preset>
struct KindSpec {
  using Fields = SpecFields<registry>;

  std::string kind = preset.text;
  Table options = {};

  template <class Visitor>
  void fields(Visitor& v) {
    Fields::kind(v, kind);
    v.rest(options);
  }
  void find_unknown(UnknownKeys& unknown) const { Fields::find_unknown(*this, unknown); }
  void validate(const std::string& place) const { Fields::validate(*this, place); }
  /// Fills in the defaults of the kind's options.
  void resolve() { Fields::resolve(*this); }
  template <class Shape>
  auto make(const Shape& shape) const {
    return Fields::make(*this, shape);
  }
};

/// The spec of kind `name` with `options`: what a public option struct converts to.
template <class Spec, class Options>
Spec spec_of(const std::string& name, const Options& options) {
  Spec out;
  out.kind = name;
  out.options = write_fields(options);
  return out;
}

}  // namespace moe

/// In kinds/NAME.cpp, inside the namespace of the registry: what X(NAME, "help") of its table
/// stands for.
#define MOE_KIND(registry, name, Class, Options)               \
  namespace registry##_table {                                 \
    RegistryOf<registry>::Entry make_##name() {                \
      return RegistryOf<registry>::entry_of<Class, Options>(); \
    }                                                          \
  }
