// Runs whose experts have gradient sinks against runs without.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/experts/stacked.h>
#include <moe/ops/cpu/grouped.h>
#include <moe/parallel/threads.h>
#include <moe/train/schedule.h>
#include <moe/train/state.h>

#include "tests/support/compare.h"
#include "tests/train/tiny_bench.h"

namespace moe::test {
namespace {

/// Tiny runs in which experts are without tokens in most steps.
struct SunkRuns : testing::Test {
  void SetUp() override {
    if (!ops::cpu::takes(at::zeros({1, 1})))
      GTEST_SKIP() << "MOE_CPU=libtorch computes without the kernels that heed sinks";
    options = tiny_run(folder.path());
    options.train.batch = 1;
    options.train.steps = 6;
    options.train.optimizer.clip = 0.1;
    options.train.eval_every = 0;
    options.train.tensorboard.enabled = false;
    change([](models::ModelOptions& model) {
      model.moe.num_experts = 64;
      model.moe.balance = {{"switch", 0.01, {}}};
    });
  }

  template <class Change>
  void change(const Change& with) {
    models::ModelOptions model;
    read_fields(model, options.model.options, "model");
    with(model);
    options.model.options = write_fields(model);
  }

  TemporaryFolder folder;
  train::RunOptions options;
};

/// Everything that a run ends with, and what its steps measured.
struct Outcome {
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::vector<std::vector<double>> metrics;
  int64_t idle = 0;
};

void keep_tensors(Outcome& out, const models::LanguageModel& model, const train::AdamW& optimizer) {
  for (const auto& [name, tensor] : models::named_tensors(model))
    out.tensors.emplace_back(name, tensor.detach().clone());
  for (const auto& [name, tensor] : optimizer.state())
    out.tensors.emplace_back(name, tensor.clone());
}

/// What the trainer does, step by step, with or without sinks.
Outcome train_by_hand(const train::RunOptions& options, bool with_sinks,
                      const std::shared_ptr<parallel::Communicator>& group = parallel::local()) {
  const auto& o = options.train;
  const auto corpus = std::make_shared<data::Corpus>(options.data);
  const data::Loader loader(corpus, {.batch = o.batch, .seed = static_cast<uint64_t>(o.seed)});
  const auto model = models::make_model(write_fields(options.model),
                                        {.group = group, .seed = static_cast<uint64_t>(o.seed)});
  const auto sinks = with_sinks ? experts::use_gradient_sinks(*model) : ops::GradientSinks();
  EXPECT_EQ(sinks.size(), with_sinks ? 4u : 0u);  // two layers of w_in and w_out
  train::AdamW optimizer(models::named_parameters(*model), o.optimizer, sinks);
  Outcome out;
  for (int64_t step = 0; step < o.steps; ++step) {
    std::vector<data::Batch> batches;
    for (int64_t micro = 0; micro < o.accumulation; ++micro)
      batches.push_back(loader.batch(step, micro, o.accumulation,
                                     data::rank_rows(o.batch, group->rank(), group->size())));
    const auto result = train::forward_backward(
        {.model = *model,
         .group = *group,
         .seed = static_cast<uint64_t>(o.seed),
         .compute = o.dtype == "bfloat16" ? at::kBFloat16 : at::ScalarType::Undefined,
         .recompute = models::parse_recompute(o.recompute, "train.recompute"),
         .num_domains = static_cast<int64_t>(corpus->domains().size()),
         .sinks = sinks},
        batches, step, optimizer.parameters());
    EXPECT_LT(o.optimizer.clip, result.gradient_norm) << "nothing is clipped";
    out.metrics.push_back({result.loss, result.lm_loss, result.gradient_norm});
    for (const auto& term : result.balance) out.metrics.back().push_back(term.second);
    train::clip_gradients(optimizer.parameters(), result.gradient_norm, o.optimizer.clip, sinks);
    optimizer.step(o.optimizer.lr * train::learning_rate_share(o.schedule, step, o.steps), step);
    optimizer.zero_gradients();
    std::vector<StepStatistics> statistics;
    for (const auto& layer : result.layers) {
      out.idle += layer.unused();
      statistics.push_back({layer.load_E.to(at::kLong), step});
    }
    model->end_step(statistics);
  }
  keep_tensors(out, *model, optimizer);
  return out;
}

/// What the trainer leaves.
Outcome train_in_earnest(const train::RunOptions& options, const Path& folder) {
  train::RunControls controls;
  controls.report = false;
  train::Run(options, folder).start(controls);
  const auto model = models::make_model(write_fields(options.model), {.seed = 77});
  train::AdamW optimizer(models::named_parameters(*model), options.train.optimizer);
  const auto group = parallel::local();
  train::load_checkpoint(*checkpoint::latest_checkpoint(folder / "checkpoints"), *model, optimizer,
                         *group);
  Outcome out;
  keep_tensors(out, *model, optimizer);
  return out;
}

void expect_same(const Outcome& got, const Outcome& expected) {
  ASSERT_EQ(got.tensors.size(), expected.tensors.size());
  for (size_t i = 0; i < got.tensors.size(); ++i)
    expect_identical(got.tensors[i].second, expected.tensors[i].second, got.tensors[i].first);
  EXPECT_EQ(got.metrics, expected.metrics);
}

bool is_same(const Outcome& a, const Outcome& b) {
  return std::equal(a.tensors.begin(), a.tensors.end(), b.tensors.begin(), b.tensors.end(),
                    [](const auto& x, const auto& y) { return x.second.equal(y.second); });
}

TEST_F(SunkRuns, HaveTheBitsOfRunsWithout) {
  for (const char* kind : {"ffn", "gated"})
    for (const char* recompute : {"none", "moe", "blocks"}) {
      SCOPED_TRACE(concat(kind, ' ', recompute));
      change([&](models::ModelOptions& model) { model.moe.expert.kind = kind; });
      options.train.recompute = recompute;
      const Outcome dense = train_by_hand(options, false);
      EXPECT_GT(dense.idle, 0) << "no expert was without tokens: nothing is tested";
      expect_same(train_by_hand(options, true), dense);
    }
}

TEST_F(SunkRuns, HaveTheBitsOfRunsWithoutBesideATermOnWeights) {
  options.train.accumulation = 1;
  change([](models::ModelOptions& model) { model.moe.balance = {{"expert_l2", 0.1, {}}}; });
  expect_same(train_by_hand(options, true), train_by_hand(options, false));
}

TEST_F(SunkRuns, HaveTheBitsOfRunsWithoutOnTwoRanks) {
  options.train.batch = 2;
  change([](models::ModelOptions& model) { model.moe.dispatcher = "all_to_all"; });
  std::vector<Outcome> dense(2), sunk(2);
  for (const bool with_sinks : {false, true})
    parallel::run_ranks(2, [&](const std::shared_ptr<parallel::Communicator>& group) {
      auto& outcomes = with_sinks ? sunk : dense;
      outcomes[static_cast<size_t>(group->rank())] = train_by_hand(options, with_sinks, group);
    });
  for (size_t rank = 0; rank < 2; ++rank) expect_same(sunk[rank], dense[rank]);
}

TEST_F(SunkRuns, AreWhatTheTrainerDoes) {
  Outcome earnest = train_in_earnest(options, folder.path() / "float32");
  earnest.metrics = train_by_hand(options, false).metrics;
  expect_same(earnest, train_by_hand(options, false));
  // In bfloat16 sinks hold sums that were never rounded, so it shows who has them.
  options.train.dtype = "bfloat16";
  const Outcome rounded = train_by_hand(options, false), sums = train_by_hand(options, true);
  EXPECT_FALSE(is_same(sums, rounded));
  EXPECT_TRUE(is_same(train_in_earnest(options, folder.path() / "bfloat16"), sums));
  for (size_t i = 0; i < sums.metrics.size(); ++i)
    EXPECT_NEAR(sums.metrics[i][0], rounded.metrics[i][0], 1e-2) << "step " << i;
}

TEST_F(SunkRuns, LeaveFrozenAndOtherParametersToAutograd) {
  const auto model = models::make_model(write_fields(options.model), {.seed = 1});
  for (auto& [name, parameter] : models::named_parameters(*model))
    if (name == "layers.0.moe.experts.w_in") Tensor(parameter).set_requires_grad(false);
  EXPECT_EQ(experts::use_gradient_sinks(*model).size(), 3u);
  model->to(at::kDouble);
  EXPECT_EQ(experts::use_gradient_sinks(*model).size(), 0u);
  change([](models::ModelOptions& other) { other.moe.expert.kind = "advanced"; });
  const auto advanced = models::make_model(write_fields(options.model), {.seed = 1});
  EXPECT_EQ(experts::use_gradient_sinks(*advanced).size(), 0u);
}

}  // namespace
}  // namespace moe::test
