#pragma once
// T tokens.

#include <string>

#include <moe/flow/context.h>

namespace moe::routing {

/// (T,) int64: the domain of each token, -1 where it is not known; undefined where the call names
/// none. For routers that have parameters for `known` domains. Throws ConfigError, naming the
/// option that says how many, where the data has more, and moe::Error for labels of another shape
/// or out of range.
Tensor labels_of(const LayerContext& context, int64_t tokens, int64_t known,
                 const std::string& place, const std::string& option);

}  // namespace moe::routing
