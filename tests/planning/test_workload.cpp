// What a run is said to need against what it takes: bytes of a materialised model, its gradients
// and its optimizer, and the peak of a real step.
#include <algorithm>
#include <mutex>

#include <gtest/gtest.h>

#include <moe/base/memory.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/models/counts.h>
#include <moe/parallel/threads.h>
#include <moe/parameters/materialise.h>
#include <moe/planning/plan.h>
#include <moe/train/groups.h>

#include "tests/support/message_of.h"
#include "tests/train/tiny_bench.h"

namespace moe::test {
namespace {

using planning::StateBytes;

struct WorkloadCase {
  std::string name;
  train::RunOptions run;
};

std::vector<WorkloadCase> workload_cases(const Path& folder) {
  std::vector<WorkloadCase> out;
  const auto add = [&](const std::string& name, const std::string& dtype, const auto& change) {
    auto run = tiny_run(folder, dtype);
    change(run);
    out.push_back({name, run});
  };
  const auto shared_out = [](train::RunOptions& run) {
    change_model(run, [](auto& model) {
      model.uniform.moe.num_experts = 8;
      model.uniform.moe.dispatcher = "all_to_all";
      model.uniform.moe.shared = Dense{.d_ff = 8};
      model.uniform.moe.router.options.set("bias_rate", 0.01);
    });
  };
  add("adamw", "float32", shared_out);
  add("float64", "float64", shared_out);
  add("bfloat16", "bfloat16", shared_out);
  add("muon", "float32", [&](auto& run) {
    shared_out(run);
    run.train.optimizer.rule.kind = "muon";
  });
  add("frozen embedding", "float32", [&](auto& run) {
    shared_out(run);
    run.train.optimizer.groups = {{.match = "embedding", .frozen = true}};
  });
  add("tied", "float32", [&](auto& run) {
    shared_out(run);
    change_model(run, [](auto& model) { model.tied_embeddings = true; });
  });
  add("dense", "float32",
      [](auto& run) { change_model(run, [](auto& model) { model.uniform.moe.num_experts = 0; }); });
  return out;
}

/// What one rank of `group` holds.
StateBytes held_by(const train::RunOptions& run,
                   const std::shared_ptr<parallel::Communicator>& group) {
  const auto model = models::make_model(run.model, {.layout = group});
  const auto type = run.train.dtype == "float64" ? at::kDouble : at::kFloat;
  materialise(*model, at::kCPU, type);
  train::freeze(tensors_of(*model), run.train.optimizer.groups, *group);
  StateBytes out;
  for (const auto& parameter : tensors_of(*model)) {
    out.weights += static_cast<double>(parameter.tensor.nbytes());
    if (parameter.tensor.requires_grad())
      out.gradients += static_cast<double>(parameter.tensor.nbytes());
  }
  const auto optimizer = train::make_optimizer(parameters_of(*model), run.train.optimizer);
  for (const auto& kept : optimizer->state())
    out.moments += static_cast<double>(kept.tensor.nbytes());
  return out;
}

cluster::Cluster one_node(int64_t ranks) {
  return {.ranks_per_node = ranks,
          .rank = {.float32 = 1e11, .memory = 1e12, .memory_bandwidth = 1e10},
          .inside = {.latency = 1e-6, .bandwidth = 1e9}};
}

TEST(Workload, StateIsThatOfTheMaterialisedModel) {
  const TemporaryFolder folder;
  for (const auto& [name, run] : workload_cases(folder.path()))
    for (const int64_t ranks : {1, 2, 4}) {
      SCOPED_TRACE(concat(name, " on ", ranks));
      const auto work = planning::workload_of(run);
      if (ranks > 1 && work.layers.empty()) continue;
      StateBytes most;
      std::mutex mutex;
      parallel::run_ranks(ranks, [&](const std::shared_ptr<parallel::Communicator>& group) {
        const auto held = held_by(run, group);
        const std::lock_guard lock(mutex);
        most = {std::max(most.weights, held.weights), std::max(most.gradients, held.gradients),
                std::max(most.moments, held.moments)};
      });
      const auto plan = planning::evaluate(work, one_node(ranks), {.experts = ranks, .data = 1});
      EXPECT_EQ(plan.memory.state.weights, most.weights);
      EXPECT_EQ(plan.memory.state.gradients, most.gradients);
      EXPECT_EQ(plan.memory.state.moments, most.moments);
    }
}

TEST(Workload, GradientsAreThoseOfAStep) {
  const TemporaryFolder folder;
  for (const auto& [name, run] : workload_cases(folder.path())) {
    if (name == "bfloat16")
      continue;  // gradients are the parameters', float32 as in the first case
    SCOPED_TRACE(name);
    Bench bench(run);
    train::freeze(tensors_of(*bench.model), run.train.optimizer.groups);
    bench.run(0, 1);
    double bytes = 0;
    for (const auto& parameter : bench.parameters)
      if (parameter.tensor.grad().defined())
        bytes += static_cast<double>(parameter.tensor.grad().nbytes());
    const auto plan = planning::evaluate(planning::workload_of(run), one_node(1), {});
    EXPECT_EQ(plan.memory.state.gradients, bytes);
  }
}

TEST(Workload, CountsFlopsAsTheModelDoes) {
  const TemporaryFolder folder;
  for (const auto& [name, run] : workload_cases(folder.path())) {
    SCOPED_TRACE(name);
    const auto work = planning::workload_of(run);
    double all = work.flops_per_token;
    for (const auto& layer : work.layers) {
      EXPECT_EQ(layer.pairs_per_token, 2);
      EXPECT_EQ(layer.width, 16);
      EXPECT_EQ(layer.flops_per_pair, 2 * 3 * 16 * 16);
      all += layer.pairs_per_token * layer.flops_per_pair;
    }
    // Half of a row of 16 is seen, 8 keys instead of 16.
    const auto counts = models::count(run.model);
    double mixing = static_cast<double>(counts.flops_per_token) -
                    2.0 * static_cast<double>(counts.active_without_input_embedding);
    EXPECT_NEAR(all, 2.0 * static_cast<double>(counts.active_without_input_embedding) + mixing / 2,
                1e-6);
    EXPECT_EQ(work.parameters, counts.total);
    EXPECT_EQ(work.tokens_per_step(), 4 * 16 * 2);
  }
}

/// A run whose tensors are large enough for the pool to count them.
train::RunOptions wide_run(const Path& folder, int64_t experts, int64_t layers) {
  auto run = tiny_run(folder);
  run.data.sequence = 128;
  run.train.batch = 16;
  change_model(run, [&](auto& model) {
    model.context_length = 128;
    model.d_model = 64;
    model.uniform.layers = layers;
    model.uniform.heads = 4;
    model.uniform.dropout = 0;
    model.uniform.moe.num_experts = experts;
    model.uniform.moe.expert.d_ff = 128;
    model.uniform.d_ff = 256;
  });
  return run;
}

/// Bytes that the second micro-batch of a step had in use at once, beside weights and gradients.
double measured_activations(const train::RunOptions& run) {
  Bench bench(run);
  bench.run(0, 2);  // gradients are there from now on
  const auto before = memory_pool().use().in_use;
  memory_pool().release();
  bench.run(0, 2);
  return static_cast<double>(memory_pool().use().most_in_use - before);
}

TEST(Workload, ActivationsAreWithinABoundOfTheMeasuredPeak) {
  keep_freed_memory();
  const TemporaryFolder folder;
  for (const int64_t experts : {0, 8})
    for (const int64_t layers : {2, 6}) {
      const auto run = wide_run(folder.path(), experts, layers);
      const auto plan = planning::evaluate(planning::workload_of(run), one_node(1), {});
      const double measured = measured_activations(run);
      RecordProperty(concat("experts_", experts, "_layers_", layers).c_str(),
                     concat(plan.memory.activations / measured));
      EXPECT_GE(plan.memory.activations / measured, 0.7)
          << experts << " experts, " << layers << " layers";
      EXPECT_LE(plan.memory.activations / measured, 1.5)
          << experts << " experts, " << layers << " layers";
    }
}

TEST(Workload, RecomputingKeepsLess) {
  const TemporaryFolder folder;
  auto run = wide_run(folder.path(), 8, 6);
  const auto needed = [&](const std::string& recompute) {
    run.train.recompute = recompute;
    return planning::evaluate(planning::workload_of(run), one_node(1), {});
  };
  const auto none = needed("none"), moe = needed("moe"), blocks = needed("blocks");
  EXPECT_GT(none.memory.activations, moe.memory.activations);
  EXPECT_GT(moe.memory.activations, blocks.memory.activations);
  EXPECT_LT(none.time.total(), moe.time.total());
  EXPECT_LT(moe.time.total(), blocks.time.total());
}

TEST(Workload, RefusesImages) {
  train::RunOptions run;
  run.model.architecture = "vision";
  EXPECT_ERROR(planning::workload_of(run), "expected a model of text");
}

}  // namespace
}  // namespace moe::test
