#include <moe/layers/mixer.h>

namespace moe::layers {

#define MOE_REGISTRY mixers
#define MOE_REGISTRY_NAMES "mixer"
#define MOE_REGISTRY_TABLE <moe/layers/mixers.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::layers
