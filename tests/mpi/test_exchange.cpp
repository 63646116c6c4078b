// How rows of a layer travel between processes: what must move and what does; by machines that the
// test makes up. W ranks, T tokens of a rank, K choices, E experts, D width.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/dispatch/dispatcher.h>
#include <moe/parallel/layout.h>

#include "tests/mpi/mpi_program.h"
#include "tests/parallel/machine_checks.h"

namespace moe::test {
namespace {

using at::Tensor;
using parallel::RowFormat;

TEST(MpiByMachine, GivesTheGroupsOwnResults) {
  if (mpi().size() != 4) GTEST_SKIP() << "four ranks can be two machines of two";
  for (const by_machine_test::Counts& machines :
       std::vector<by_machine_test::Counts>{{0, 0, 1, 1}, {0, 1, 0, 1}, {0, 1, 1, 0}})
    by_machine_test::expect_the_groups_own_results(mpi().world(), machines);
}

TEST(MpiExchange, SendsHardlyMoreThanMustMove) {
  const int64_t W = mpi().size(), T = 300, K = 2, E = 8, D = 256;
  if (W == 1) GTEST_SKIP() << "one rank sends nothing";
  Routing routing;
  routing.num_experts = E;
  routing.offsets = at::arange(T + 1, at::kLong) * K;
  routing.experts_N = (at::arange(T * K, at::kLong) * 5 + mpi().rank()).remainder(E);
  routing.weights_N = at::ones({T * K});
  const Tensor x_TD = at::ones({T, D}).set_requires_grad(true);
  for (const auto format : {RowFormat::kFull, RowFormat::kBFloat16, RowFormat::kInt8})
    for (const int64_t chunks : {1, 4}) {
      const auto dispatcher =
          dispatch::dispatchers()
              .at("all_to_all")
              .make({E, mpi().world(), {format, std::make_shared<parallel::Chunks>(chunks)}}, {});
      const int64_t before = mpi().bytes_sent();
      const DispatchPlan plan = dispatcher->plan(routing);
      const auto as_they_are = [](const ExpertRows& rows) {
        return rows.source_SD.index_select(0, rows.index_R);
      };
      dispatcher->through(as_they_are, x_TD, routing, plan, {}).sum().backward();
      const int64_t sent = mpi().bytes_sent() - before;
      int64_t there = 0, back = 0;  // rows for other ranks, and of them
      for (const auto& chunk : plan.exchange->chunks)
        for (int64_t w = 0; w < W; ++w)
          if (w != mpi().rank()) {
            there += chunk.send[static_cast<size_t>(w)];
            back += chunk.receive[static_cast<size_t>(w)];
          }
      const int64_t held = parallel::share_of(E, W, mpi().rank()).count;
      const int64_t must = 8 * (E - held)  // counts
                           + 8 * there     // token numbers
                           + 2 * (there + back) * parallel::row_bytes(D, at::kFloat, format);
      EXPECT_GE(sent, must);
      EXPECT_LE(static_cast<double>(sent), 1.05 * static_cast<double>(must))
          << chunks << " chunks, format " << static_cast<int>(format);
    }
}

}  // namespace
}  // namespace moe::test
