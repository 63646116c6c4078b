#include <moe/dispatch/dispatcher.h>

namespace moe::dispatch {

namespace kinds {
#define X(name, help) DispatcherRegistry::Entry make_##name();
#include <moe/dispatch/dispatchers.def>
#undef X
}  // namespace kinds

DispatcherRegistry& dispatchers() {
  static DispatcherRegistry* const registry = [] {
    auto* made = new DispatcherRegistry("dispatcher");
#define X(name, help) made->add(#name, help, kinds::make_##name());
#include <moe/dispatch/dispatchers.def>
#undef X
    return made;
  }();
  return *registry;
}

}  // namespace moe::dispatch
