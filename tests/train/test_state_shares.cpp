// Optimizer state that ranks share out: who keeps what, and that updates are those of one rank. W
// ranks.
#include <map>
#include <mutex>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/parallel/threads.h>
#include <moe/train/optimizer.h>
#include <moe/train/optimizers/adamw.h>
#include <moe/train/optimizers/muon.h>
#include <moe/train/state_shares.h>

#include "tests/support/message_of.h"

namespace moe::test::state_shares_test {
namespace {

using at::Tensor;
using Group = std::shared_ptr<parallel::Communicator>;

constexpr int64_t kExperts = 5;

Tensor numbers(int64_t seed, const std::vector<int64_t>& sizes) {
  const int64_t count = c10::multiply_integers(sizes);
  return (at::arange(count, at::kDouble) * 0.37 + static_cast<double>(seed)).sin().view(sizes);
}

/// An embedding above any rank's share, a stack of experts, two matrices, vectors, a single number
/// and what belongs to single experts, all of them learning.
Parameters model_of(const parallel::Layout& layout) {
  Parameters out = {
      {"embedding", numbers(1, {23, 8}), {.role = Role::kEmbedding}},
      {"a", numbers(2, {6, 8}), {}},
      {"b", numbers(3, {4, 6}), {.fused = {2, 2}}},
      {"bias", numbers(4, {8}), {.role = Role::kBias}},
      {"scale", numbers(5, {}), {.role = Role::kScale}},
  };
  const auto mine = layout.experts_of(kExperts);
  const ParameterInfo stack = {.part = Part::kExperts,
                               .per_expert = true,
                               .sharded = true,
                               .first_expert = mine.first,
                               .whole = kExperts};
  out.push_back(
      {"experts.w", numbers(6, {kExperts, 4, 8}).slice(0, mine.first, mine.end()).clone(), stack});
  for (int64_t e = mine.first; e < mine.end(); ++e)
    out.push_back(
        {concat("own.", e), numbers(7 + e, {e + 2, 3}), {.part = Part::kExperts, .expert = e}});
  for (auto& parameter : out) parameter.tensor.set_requires_grad(true);
  return out;
}

/// Four steps; the gradients follow from the parameters alone.
void steps(train::Optimizer& optimizer) {
  for (int64_t step = 0; step < 4; ++step) {
    for (const auto& [name, tensor, info] : optimizer.parameters()) {
      if (step == 1 && name == "a") continue;
      if (tensor.numel() > 0)
        tensor.mutable_grad() = (tensor.detach() * 3 + static_cast<double>(step)).cos();
    }
    optimizer.step(0.02, step);
    optimizer.zero_gradients();
  }
}

train::OptimizerOptions options_of(const std::string& kind) {
  train::OptimizerOptions out;
  out.rule.kind = kind;
  out.groups = {{.match = "experts.w", .experts = {2}, .frozen = true},
                {.match = "experts.w", .experts = {3}, .lr_factor = 0.5}};
  return out;
}

class SharedState : public testing::TestWithParam<std::string> {};

TEST_P(SharedState, UpdatesToTheBitAsOneThatIsEverywhere) {
  const auto options = options_of(GetParam());
  for (const auto& [ranks, experts] : {std::pair{2, 1}, {3, 3}, {4, 2}, {6, 2}, {8, 8}}) {
    SCOPED_TRACE(concat(ranks, " ranks, groups of ", experts));
    parallel::run_ranks(ranks, [&, experts = experts](const Group& world) {
      const auto layout = parallel::Layout::of(world, experts);
      const Parameters expected = model_of(layout), found = model_of(layout);
      steps(*train::make_optimizer(expected, options));
      const auto optimizer =
          train::make_optimizer(found, options, {.layout = layout, .shared_out = true});
      steps(*optimizer);
      for (size_t i = 0; i < expected.size(); ++i)
        EXPECT_TRUE(at::equal(found[i].tensor, expected[i].tensor)) << expected[i].name;
    });
  }
}

TEST_P(SharedState, IsOnOneRankEachAndEvenlyMuch) {
  const auto options = options_of(GetParam());
  std::mutex mutex;
  std::map<std::string, std::vector<std::pair<int64_t, Tensor>>>
      rows;  // by name: first row, numbers
  std::vector<int64_t> of_rank(4, 0);
  parallel::run_ranks(4, [&](const Group& world) {
    const auto layout = parallel::Layout::of(world, 2);
    const auto optimizer =
        train::make_optimizer(model_of(layout), options, {.layout = layout, .shared_out = true});
    steps(*optimizer);
    const std::lock_guard lock(mutex);
    for (const auto& [name, tensor, info] : optimizer->state()) {
      if (info.role == Role::kState || tensor.dim() == 0) continue;
      ASSERT_TRUE(info.only_here && info.sharded) << name;
      of_rank[static_cast<size_t>(world->rank())] += tensor.numel();
      if (tensor.numel() > 0) rows[name].emplace_back(info.first_expert, tensor);
    }
  });
  const auto one = train::make_optimizer(model_of({}), options);
  steps(*one);
  int64_t all = 0;
  for (const auto& [name, tensor, info] : one->state()) {
    if (info.role == Role::kState || tensor.dim() == 0) continue;
    all += tensor.numel();
    ASSERT_TRUE(rows.contains(name)) << name;
    auto& parts = rows.at(name);
    std::ranges::sort(parts, {}, [](const auto& part) { return part.first; });
    std::vector<Tensor> tensors;
    for (const auto& part : parts) tensors.push_back(part.second);
    EXPECT_TRUE(at::allclose(at::cat(tensors), tensor, 0, 1e-14)) << name;
  }
  EXPECT_EQ(of_rank[0] + of_rank[1] + of_rank[2] + of_rank[3], all);
  for (const int64_t numbers : of_rank)
    EXPECT_LT(static_cast<double>(numbers), 1.5 * static_cast<double>(all) / 4);
}

TEST_P(SharedState, StartsAgainWhereItIs) {
  const auto options = options_of(GetParam());
  parallel::run_ranks(2, [&](const Group& world) {
    const auto layout = parallel::Layout::of(world, 1);
    const auto optimizer =
        train::make_optimizer(model_of(layout), options, {.layout = layout, .shared_out = true});
    steps(*optimizer);
    for (size_t i = 0; i < optimizer->parameters().size(); ++i) {
      const auto& name = optimizer->parameters()[i].name;
      if (name == "experts.w") optimizer->forget(i, {1, 1});
      if (name == "a") optimizer->forget(i);
    }
    for (const auto& [name, tensor, info] : optimizer->state()) {
      if (name.starts_with("a.")) {
        EXPECT_TRUE(tensor.eq(0).all().item<bool>()) << name;
      }
      if (!name.starts_with("experts.w.")) continue;
      for (int64_t row = 0; row < tensor.size(0); ++row) {
        const int64_t expert = info.first_expert + row;
        const bool zero = tensor[row].eq(0).all().item<bool>();
        EXPECT_EQ(zero, expert == 1 || expert == 2) << name << ' ' << expert;  // 2 is frozen
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Kinds, SharedState, testing::Values("adamw", "muon", "descent"));

class KeepsAll final : public train::Optimizer {
 public:
  KeepsAll(const train::OptimizerShape& shape, const NoOptions&) : Optimizer(shape) {}
  Parameters state() const override { return {}; }
  std::vector<Tensor> moments(size_t) const override { return {}; }

 protected:
  void update(const std::vector<Change>&) override {}
};

TEST(SharedStateOfOtherKinds, IsRefusedUnlessTheySayWhatStandsApart) {
  train::optimizers().add<KeepsAll, NoOptions>("keeps_all", "for tests of shared state");
  const auto make = [](bool shared_out) {
    train::make_optimizer(model_of({}), options_of("keeps_all"), {.shared_out = shared_out});
  };
  make(false);
  EXPECT_ERROR(make(true), "got 'keeps_all', which keeps all of it on every rank");
  EXPECT_THROW(make(true), ConfigError);
}

TEST(RowsOfATensor, AreCutToThoseOfOthers) {
  using train::Rows;
  const auto within = [](const Rows& a, const Rows& b) {
    const Rows out = a.within(b);
    return std::pair{out.first, out.count};
  };
  EXPECT_TRUE(Rows().within(Rows()).all());
  EXPECT_EQ(within({}, {2, 3}), (std::pair<int64_t, int64_t>{2, 3}));
  EXPECT_EQ(within({2, 3}, {}), (std::pair<int64_t, int64_t>{2, 3}));
  EXPECT_EQ(within({2, 3}, {4, 9}), (std::pair<int64_t, int64_t>{4, 1}));
  EXPECT_TRUE(Rows({2, 3}).within({5, 9}).none());
  EXPECT_TRUE(Rows({0, 0}).within({}).none());
  EXPECT_TRUE(Rows().within({0, 0}).none());
}

}  // namespace
}  // namespace moe::test::state_shares_test
