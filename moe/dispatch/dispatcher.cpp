#include <moe/dispatch/dispatcher.h>

namespace moe::dispatch {

#define MOE_REGISTRY dispatchers
#define MOE_REGISTRY_NAMES "dispatcher"
#define MOE_REGISTRY_TABLE <moe/dispatch/dispatchers.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::dispatch
