// Steps of ranks that are threads against what the plan says of them, with the links and rates that
// moe bench exchange finds at the same time: docs/planning.md shows the table that this prints with
// MOE_MEASURE set, for up to 8 ranks. No time is asserted.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>

#include <moe/parallel/threads.h>
#include <moe/planning/plan.h>

#include "tests/support/run_program.h"
#include "tests/train/tiny_bench.h"

namespace moe::test {
namespace {

train::RunOptions measured_run(const Path& folder) {
  auto run = tiny_run(folder);
  run.data.sequence = 128;
  run.train.batch = 16;
  run.train.accumulation = 1;
  change_model(run, [](auto& model) {
    model.context_length = 128;
    model.d_model = 128;
    model.uniform.heads = 4;
    model.uniform.dropout = 0;
    model.uniform.moe.num_experts = 8;
    model.uniform.moe.dispatcher = "all_to_all";
    model.uniform.moe.expert.d_ff = 256;
  });
  return run;
}

/// Median seconds of a step, forward, backward and update, on so many threads.
double measured_seconds(const train::RunOptions& run, int64_t ranks) {
  constexpr int64_t kSteps = 4;
  std::vector<double> seconds;
  parallel::run_ranks(ranks, [&](const std::shared_ptr<parallel::Communicator>& group) {
    const auto dataset = data::open_data(run.data, 1);
    const auto source = dataset->training(run.train.batch, 1);
    const auto model = models::make_model(run.model, 1, {.layout = group}, at::kCPU, at::kFloat);
    const auto objective = run.train.objective.make(
        objectives::ObjectiveShape{.model = model->traits(), .data = dataset->traits()});
    const auto parameters = parameters_of(*model);
    const auto optimizer = train::make_optimizer(parameters, run.train.optimizer);
    const auto rows = data::rank_rows(source->rows(), group->rank(), group->size());
    for (int64_t step = 0; step <= kSteps; ++step) {
      const auto batch = source->batch(step, 0, 1, rows);
      group->barrier();
      const auto start = std::chrono::steady_clock::now();
      train::forward_backward(
          {.model = *model, .objective = *objective, .layout = group, .seed = 1}, {batch}, step,
          parameters);
      optimizer->step(1e-3, step);
      optimizer->zero_gradients();
      group->barrier();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      if (group->rank() == 0 && step > 0) seconds.push_back(took.count());
    }
  });
  std::ranges::sort(seconds);
  return seconds[seconds.size() / 2];
}

TEST(MeasuredSteps, OfThreadsStandBesideTheirPlan) {
  const TemporaryFolder folder;
  const auto run = measured_run(folder.path());
  const auto work = planning::workload_of(run);
  std::printf("ranks  predicted ms  measured ms  predicted / measured\n");
  const auto most = std::getenv("MOE_MEASURE") ? 8 : 2;
  for (int64_t ranks = 1; ranks <= most; ranks *= 2) {
    const std::string file = folder / "here.toml";
    const auto bench = run_program({"bench", "exchange", "--ranks", std::to_string(ranks),
                                    "--repeat", "3", "--warmup", "1", "--out", file});
    ASSERT_EQ(bench.status, 0) << bench.err;
    const auto plan =
        planning::evaluate(work, cluster::read_cluster(file), {.experts = ranks, .data = 1});
    const double predicted = plan.time.total(), measured = measured_seconds(run, ranks);
    EXPECT_TRUE(std::isfinite(predicted) && predicted > 0);
    EXPECT_GT(measured, 0);
    std::printf("%5lld  %12.1f  %11.1f  %20.2f\n", static_cast<long long>(ranks), 1e3 * predicted,
                1e3 * measured, predicted / measured);
  }
}

}  // namespace
}  // namespace moe::test
