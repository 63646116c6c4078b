#pragma once

#include <string>
#include <utility>
#include <vector>

#include <moe/parallel/communicator.h>

namespace moe::parallel {

/// The tensors of all ranks, in the order of their names, on every rank: names, numbers and shapes
/// may differ from rank to rank. All ranks of the group call it. Throws moe::Error when two ranks
/// have the same name.
std::vector<std::pair<std::string, Tensor>> gather_named(
    const std::vector<std::pair<std::string, Tensor>>& mine, Communicator& group);

}  // namespace moe::parallel
