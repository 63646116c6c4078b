#pragma once
// X ranks that share the experts of a layer.

#include <vector>

#include <moe/flow/plan.h>
#include <moe/parallel/communicator.h>

namespace moe::dispatch {

/// (X + 2,) int64: rows that this rank sends to each rank of `group` by `plan`, those that stay
/// with it among them; those to other ranks; those to ranks on other machines. Undefined for one
/// rank.
Tensor rows_sent(const DispatchPlan& plan, const parallel::Communicator& group);

}  // namespace moe::dispatch
