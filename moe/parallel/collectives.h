#pragma once
// Collectives that gradients flow through. R rows, D width.

#include <memory>
#include <vector>

#include <moe/parallel/communicator.h>

namespace moe::parallel {

/// The rows of `rows_RD` to the ranks they belong to: Communicator::all_to_all_v with a gradient,
/// which is the same exchange backwards. Both run also for ranks without rows, so that no rank
/// waits for one that has nothing to do; the rows of all ranks must need a gradient, or those of
/// none. Differentiable twice.
Tensor all_to_all_rows(const Tensor& rows_RD, const std::vector<int64_t>& send,
                       const std::vector<int64_t>& receive,
                       const std::shared_ptr<Communicator>& group);

}  // namespace moe::parallel
