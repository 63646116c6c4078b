// What a step with gradient sinks touches. E experts, D width.
#include <sys/mman.h>
#include <unistd.h>

#include <ATen/ops/tensor.h>

#include <moe/base/memory.h>
#include <moe/ops/cpu/grouped.h>
#include <moe/ops/grouped.h>

#include "tests/support/gradcheck.h"
#include "tests/support/page_faults.h"
#include "tests/support/sinks.h"

namespace moe::ops::sink_memory_test {

namespace {

using moe::test::normal;
using moe::test::page_faults;

constexpr int64_t kE = 512, kD = 128;
constexpr int64_t kPagesOfAnExpert = kD * kD * 4 / 4096;

/// Experts whose gradients are 64 MiB, of which one gets rows.
struct Experts {
  Experts() {
    p.activation = Activation::kSilu;
    p.w_in = normal({kE, kD, kD}, 1).to(at::kFloat).requires_grad_(true);
    p.w_out = normal({kE, kD, kD}, 2).to(at::kFloat).requires_grad_(true);
  }

  /// Fresh pages of a step of 8 rows through expert e.
  int64_t faults(int64_t e) {
    std::vector<int64_t> offsets(kE + 1, 0);
    std::fill(offsets.begin() + e + 1, offsets.end(), 8);
    const Tensor x_RD = normal({8, kD}, 3).to(at::kFloat), offsets_E = at::tensor(offsets);
    const int64_t before = page_faults();
    end_step();
    grouped_mlp(x_RD, {}, offsets_E, p).backward(x_RD);
    return page_faults() - before;
  }

  void end_step() { p.w_in.mutable_grad() = p.w_out.mutable_grad() = Tensor(); }

  MlpParameters p;
};

/// Gives the pages of a gradient back to the system, of which it then has zeros again.
void drop_pages(const Tensor& gradient) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(gradient.data_ptr()),
             first = (begin + page - 1) / page * page,
             last = (begin + gradient.nbytes()) / page * page;
  ASSERT_EQ(madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED), 0);
}

TEST(SinkMemory, AStepTouchesThePagesOfLiveExpertsAlone) {
  if (const char* reason = test::no_page_faults_here()) GTEST_SKIP() << reason;
  if (!cpu::takes(normal({1, 1}, 1).to(at::kFloat)))
    GTEST_SKIP() << "MOE_CPU=libtorch computes without the kernels that heed sinks";
  keep_freed_memory();
  Experts plain;
  plain.faults(3);
  plain.end_step();
  memory_pool().release();
  EXPECT_GE(plain.faults(3), 2 * kE * kPagesOfAnExpert) << "the whole gradient";

  Experts sunk;
  memory_pool().release();
  sunk.p.sinks = {test::sink_of(sunk.p.w_in), test::sink_of(sunk.p.w_out)};
  EXPECT_GE(sunk.faults(3), 2 * kE * kPagesOfAnExpert) << "all is cleared once";
  for (const int64_t e : {3, 400, 7}) {
    drop_pages(sunk.p.w_in.grad());
    drop_pages(sunk.p.w_out.grad());
    // What expert e writes, and what the step before left and is cleared now.
    EXPECT_LE(sunk.faults(e), 4 * kPagesOfAnExpert + 64) << "expert " << e;
  }
}

}  // namespace

}  // namespace moe::ops::sink_memory_test
