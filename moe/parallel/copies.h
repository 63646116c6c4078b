#pragma once
// Copies of experts on further ranks of those that share the experts of a layer (ExpertPlacement).

#include <moe/parallel/communicator.h>
#include <moe/parameters/list.h>

namespace moe::parallel {

/// Adds the gradients of copies to those of the experts' owners, in the order of their ranks, and
/// makes those of copies zero, so that what is summed over ranks counts each expert once. A
/// gradient that is undefined counts as zeros; one that is undefined on all ranks of an expert
/// stays so.
///
/// `sharers` are the ranks that share the experts; all call it, with the same parameters in the
/// same order, whether they hold copies or not. Nothing travels where no parameter has copies.
void collect_gradients_of_copies(const Parameters& parameters, Communicator& sharers);

/// Gives copies the numbers of the experts' owners. Called as above.
void renew_copies(const Parameters& parameters, Communicator& sharers);

}  // namespace moe::parallel
