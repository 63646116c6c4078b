#pragma once

#include <memory>

#include <moe/mpi/group.h>

namespace moe::parallel {

/// The collectives of a group.
std::shared_ptr<Communicator> communicator_of(std::shared_ptr<MpiGroup> group);

}  // namespace moe::parallel
