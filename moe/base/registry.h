#pragma once
// Tables of kinds (routers, experts, …): name -> help, typed options and a maker. A folder fills
// its registry from its .def table through an explicit function, never by static self-registration,
// which static linking loses. Users of the installed library add to it at run time (register_router
// and friends).

#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include <moe/base/fields.h>

namespace moe {

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

/// The Kind of `Class`, made from (shape, options).
template <class Interface, class Shape, class Class, class Options>
Kind<Interface, Shape> kind_of() {
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
          .make = [read](const Shape& shape, const Table& settings) -> std::shared_ptr<Interface> {
            return std::make_shared<Class>(shape, read(settings, ""));
          }};
}

/// Named kinds of one family. Thread-safe.
template <class Interface, class Shape>
class Registry {
 public:
  using Entry = Kind<Interface, Shape>;

  /// `family` names the registry in messages ("router", "expert", …).
  explicit Registry(std::string family) : family_(std::move(family)) {}

  void add(const std::string& name, std::string help, Entry entry) {
    std::lock_guard lock(mutex_);
    entry.help = std::move(help);
    check(kinds_.emplace(name, std::move(entry)).second, family_, "expected a new name, got '",
          name, "' which is registered already. Choose another name.");
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

 private:
  std::vector<std::string> names_unlocked() const {
    std::vector<std::string> out;
    for (const auto& [name, kind] : kinds_) out.push_back(name);
    return out;
  }

  std::string family_;
  mutable std::mutex mutex_;
  std::map<std::string, Entry> kinds_;
};

/// Options of a kind that has none.
struct NoOptions {
  template <class Visitor>
  void fields(Visitor&) {}
};

}  // namespace moe
