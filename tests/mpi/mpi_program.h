#pragma once

#include <moe/parallel/mpi.h>

namespace moe::test {

/// This process's MPI, made by main before the tests are listed.
parallel::Mpi& mpi();

}  // namespace moe::test
