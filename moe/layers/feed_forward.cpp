#include <moe/layers/feed_forward.h>

namespace moe::layers {

void FeedForward::use_top_k(int64_t top_k) {
  check<ConfigError>(!routes(), "layers",
                     "expected a block whose tokens can choose another number of experts, got one "
                     "that does not say how, for top_k=",
                     top_k, ". Leave top_k out.");
}

#define MOE_REGISTRY feed_forwards
#define MOE_REGISTRY_NAMES "feed-forward", "feed_forward"
#define MOE_REGISTRY_TABLE <moe/layers/feed_forwards.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::layers
