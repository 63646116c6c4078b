#pragma once
// Gradients of a model of which every rank holds all but the experts of other ranks.

#include <moe/parallel/layout.h>
#include <moe/parameters/list.h>

namespace moe::parallel {

/// What replicated values are put behind one another to, so that many small ones travel as one
/// message: bytes.
inline constexpr int64_t kBucketBytes = int64_t{16} << 20;

/// Adds the gradients of the replicated parameters over the world, and those of the experts
/// (ParameterInfo::is_local) over the ranks that hold the same ones, in rank order, so that all
/// ranks that have a parameter hold the same bits; before, those of copies of experts go to the
/// experts' owners, and are zero then (copies.h). Where no other rank holds this rank's experts
/// their gradients are complete as they are, and stay.
///
/// The parameters that are added are the same on all ranks of a group and in the same order;
/// parameters without requires_grad are passed over, and a tensor with several names (tied weights)
/// counts once. A gradient that is undefined here counts as zeros; one that is undefined on every
/// rank stays so.
void reduce_gradients(const Parameters& parameters, const Layout& layout);

}  // namespace moe::parallel
