#pragma once
// Kinds that the pages of docs/howto/ show, compiled from the pages themselves
// (tests/CMakeLists.txt) and registered by the tests, so that the contract suites run over them as
// over the built-in kinds.

#include <algorithm>
#include <string>

namespace moe::test {

/// Registers the kind of a page. Whoever follows the page here has it in the .def table already.
template <class Registry>
bool register_howto(Registry& registry, const std::string& name, typename Registry::Entry entry) {
  const auto names = registry.names();
  if (std::find(names.begin(), names.end(), name) == names.end())
    registry.add(name, "the kind of its how-to page", std::move(entry));
  return true;
}

}  // namespace moe::test
