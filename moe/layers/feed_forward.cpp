#include <moe/layers/feed_forward.h>

namespace moe::layers {

#define MOE_REGISTRY feed_forwards
#define MOE_REGISTRY_NAMES "feed-forward", "feed_forward"
#define MOE_REGISTRY_TABLE <moe/layers/feed_forwards.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::layers
