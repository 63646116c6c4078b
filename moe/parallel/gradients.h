#pragma once
// Gradients of a model of which every rank holds all but the experts of other ranks.

#include <moe/parallel/communicator.h>
#include <moe/parameters/list.h>

namespace moe::parallel {

/// Adds the gradients of the replicated parameters over the ranks of `group`, in rank order, so
/// that all ranks hold the same bits; those of parameters that lie on this rank alone
/// (ParameterInfo::is_local), complete where they are, stay.
///
/// The replicated ones among `parameters` are the same on all ranks and in the same order;
/// parameters without requires_grad are passed over, and a tensor with several names (tied weights)
/// counts once. A gradient that is undefined here counts as zeros; one that is undefined on every
/// rank stays so.
void reduce_gradients(const Parameters& parameters, Communicator& group);

}  // namespace moe::parallel
