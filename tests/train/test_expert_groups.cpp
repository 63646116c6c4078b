// Rules for single experts and decay that waits for idle ones, under every optimizer. E experts.
#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/parallel/threads.h>
#include <moe/train/clip.h>
#include <moe/train/frozen.h>
#include <moe/train/optimizers/adamw.h>
#include <moe/train/optimizers/muon.h>

#include "tests/support/message_of.h"
#include "tests/train/parameters.h"

namespace moe::test::expert_groups_test {
namespace {

using at::Tensor;
using Groups = std::vector<train::ParameterGroup>;

/// Two layers' experts and routers, and a matrix that all tokens share.
Parameters parameters_with_experts() {
  at::manual_seed(1);
  ParameterInfo fused = kStackInfo;
  fused.fused = {3, 5};
  return {learning("layers.0.attention.w_q", {7, 4}, kMatrixInfo),
          learning("layers.3.moe.router.weight", {6, 4}, kRouterInfo),
          learning("layers.3.moe.experts.w_in", {6, 8, 4}, fused),
          learning("layers.3.moe.experts.b_in", {6, 8}, kStackBiasInfo),
          learning("layers.4.moe.experts.w_in", {6, 8, 4}, fused)};
}

bool is_of(const std::vector<int64_t>& experts, int64_t expert) {
  return std::ranges::count(experts, expert) > 0;
}

double off(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

class ExpertGroups : public testing::TestWithParam<std::string> {
 protected:
  train::OptimizerOptions options(const Groups& groups) const {
    train::OptimizerOptions out;
    out.rule.kind = GetParam();
    out.weight_decay = 0.1;
    out.groups = groups;
    return out;
  }

  /// Some steps of `mine` and of the same without groups; what became of both.
  struct Pair {
    Parameters mine, plain, before;
    std::shared_ptr<train::Optimizer> optimizer, other;
  };
  Pair steps(const Groups& groups) const {
    Pair out{
        parameters_with_experts(), parameters_with_experts(), parameters_with_experts(), {}, {}};
    train::freeze(out.mine, groups);
    const train::FrozenState frozen(out.mine, groups);
    out.optimizer = train::make_optimizer(out.mine, options(groups));
    out.other = train::make_optimizer(out.plain, options({}));
    for (int64_t step = 0; step < 3; ++step) {
      draw_gradients(out.plain);
      for (size_t i = 0; i < out.mine.size(); ++i)
        if (out.mine[i].tensor.requires_grad())
          out.mine[i].tensor.mutable_grad() = out.plain[i].tensor.grad().clone();
      frozen.clear_gradients();
      out.optimizer->step(0.01, step, busy(out.optimizer->parameters()));
      out.other->step(0.01, step, busy(out.other->parameters()));
    }
    return out;
  }

  static std::vector<Tensor> moments(const train::Optimizer& optimizer, const std::string& name) {
    for (size_t i = 0; i < optimizer.parameters().size(); ++i)
      if (optimizer.parameters()[i].name == name) return optimizer.moments(i);
    return {};
  }
};

TEST_P(ExpertGroups, FreezeSingleExpertsBitForBitAndLeaveTheOthersAlone) {
  const std::vector<int64_t> chosen = {2, 5};
  for (const bool others : {false, true}) {  // the chosen are frozen, or all but them
    SCOPED_TRACE(others);
    const Groups groups =
        others ? Groups{{.match = "layers.3.moe", .frozen = true},
                        {.match = "layers.3.moe.experts", .experts = chosen}}
               : Groups{{.match = "layers.3.moe.experts", .experts = chosen, .frozen = true}};
    const Pair pair = steps(groups);
    for (size_t i = 0; i < pair.mine.size(); ++i) {
      const auto& [name, tensor, info] = pair.mine[i];
      SCOPED_TRACE(name);
      const Tensor now = tensor.detach(), old = pair.before[i].tensor.detach(),
                   free = pair.plain[i].tensor.detach();
      if (name == "layers.3.moe.router.weight" && others) {
        EXPECT_TRUE(now.equal(old));
        EXPECT_FALSE(tensor.requires_grad());
        continue;
      }
      if (!name.starts_with("layers.3.moe.experts")) {
        EXPECT_LT(off(now, free), 1e-12);
        continue;
      }
      for (int64_t e = 0; e < 6; ++e) {
        const bool frozen = is_of(chosen, e) != others;
        EXPECT_EQ(now[e].equal(old[e]), frozen) << e;
        if (!frozen) {
          EXPECT_LT(off(now[e], free[e]), 1e-12) << e;
        }
        for (const Tensor& moment : moments(*pair.optimizer, name))
          EXPECT_EQ(moment[e].eq(0).all().item<bool>(), frozen) << e;
      }
    }
  }
}

TEST_P(ExpertGroups, GiveSingleExpertsRatesAndDecaysOfTheirOwn) {
  const Groups groups = {
      {.match = "*.experts", .lr_factor = 0.5},
      {.match = "layers.3.moe.experts", .experts = {1}, .lr_factor = 0, .weight_decay = 0.5},
      {.match = "layers.3.moe.experts", .experts = {3, 4}, .lr_factor = 1}};
  auto mine = parameters_with_experts(), plain = parameters_with_experts();
  const auto before = parameters_with_experts();
  draw_gradients(plain);
  for (size_t i = 0; i < mine.size(); ++i)
    mine[i].tensor.mutable_grad() = plain[i].tensor.grad().clone();
  train::make_optimizer(mine, options(groups))->step(0.01, 0, busy(mine));
  train::make_optimizer(plain, options({}))->step(0.01, 0, busy(plain));
  for (const size_t i : {size_t{2}, size_t{3}}) {
    const Tensor start = before[i].tensor.detach();
    const Tensor moved = mine[i].tensor.detach() - start, free = plain[i].tensor.detach() - start;
    for (int64_t e = 0; e < 6; ++e) {
      const double factor = e == 1 ? 0 : is_of({3, 4}, e) ? 1 : 0.5;
      EXPECT_LT(off(moved[e], factor * free[e]), 1e-12) << mine[i].name << ' ' << e;
    }
  }
}

TEST_P(ExpertGroups, GoOnFromTheirStateAsIfNeverInterrupted) {
  const Groups groups = {{.match = "*.experts", .experts = {0, 2}, .frozen = true}};
  auto one = parameters_with_experts(), two = parameters_with_experts();
  train::freeze(one, groups), train::freeze(two, groups);
  const auto first = train::make_optimizer(one, options(groups)),
             second = train::make_optimizer(two, options(groups));
  expect_state_is_all(one, *first, two, *second);
}

TEST_P(ExpertGroups, OnlyExpertsThatTokensReachedDecayWhereIdleOnesWait) {
  auto waiting = options({{.match = "layers.4.*", .experts = {5}, .weight_decay = 0.5}});
  waiting.decay_idle_experts = false;
  const auto parameters = parameters_with_experts();
  const auto before = parameters_with_experts();
  for (const auto& parameter : parameters)
    parameter.tensor.mutable_grad() = at::zeros_like(parameter.tensor).detach();
  const auto optimizer = train::make_optimizer(parameters, waiting);
  const Tensor third_E = at::tensor({4, 0, 0, 1, 9, 0}, at::kLong),
               fourth_E = at::tensor({0, 1, 0, 0, 0, 2}, at::kLong);
  optimizer->step(0.1, 0, {Tensor(), third_E, third_E, third_E, fourth_E});
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, tensor, info] = parameters[i];
    SCOPED_TRACE(name);
    const Tensor now = tensor.detach(), old = before[i].tensor.detach();
    if (info.part != Part::kExperts) {
      EXPECT_LT(off(now, old * (1 - 0.1 * 0.1)), 1e-12);
      continue;
    }
    const Tensor& tokens_E = i == 4 ? fourth_E : third_E;
    for (int64_t e = 0; e < 6; ++e) {
      const double decay = i == 4 && e == 5 ? 0.5 : info.decays() ? 0.1 : 0;
      if (tokens_E[e].item<int64_t>() == 0 || decay == 0) {
        EXPECT_TRUE(now[e].equal(old[e])) << e;
      } else {
        EXPECT_LT(off(now[e], old[e] * (1 - 0.1 * decay)), 1e-12) << e;
      }
    }
  }
  EXPECT_ERROR(optimizer->step(0.1, 1), "expected the tokens that the experts of");
  // With no option all decay, and nobody needs to count.
  const auto all = parameters_with_experts();
  for (const auto& parameter : all)
    parameter.tensor.mutable_grad() = at::zeros_like(parameter.tensor).detach();
  const auto plain = train::make_optimizer(all, options({}));
  if (plain->needs_tokens()) return;
  plain->step(0.1, 0);
  EXPECT_LT(off(all[2].tensor.detach(), before[2].tensor.detach() * (1 - 0.1 * 0.1)), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Kinds, ExpertGroups, testing::ValuesIn(train::optimizers().names()));

TEST(GroupsOfExperts, ExpertsThatAreModulesAreFrozenAndDecayOneByOne) {
  at::manual_seed(3);
  Parameters parameters;
  for (int64_t e = 0; e < 3; ++e)
    parameters.push_back(learning(concat("layers.1.moe.experts.", e, ".weight"), {3, 3},
                                  {.part = Part::kExperts, .expert = e}));
  const Groups groups = {{.match = "layers.1.moe.experts", .experts = {1}, .frozen = true}};
  EXPECT_EQ(train::freeze(parameters, groups), 18);
  EXPECT_TRUE(parameters[0].tensor.requires_grad());
  EXPECT_FALSE(parameters[1].tensor.requires_grad());
  train::OptimizerOptions options;
  options.groups = groups;
  options.decay_idle_experts = false;
  const auto optimizer = train::make_optimizer(parameters, options);
  ASSERT_EQ(optimizer->parameters().size(), 2u);
  const Tensor first = parameters[0].tensor.detach().clone(),
               last = parameters[2].tensor.detach().clone();
  for (const size_t i : {size_t{0}, size_t{2}})
    parameters[i].tensor.mutable_grad() = at::zeros_like(parameters[i].tensor).detach();
  const Tensor tokens_E = at::tensor({0, 7, 1}, at::kLong);
  optimizer->step(0.1, 0, {tokens_E, tokens_E});
  EXPECT_TRUE(parameters[0].tensor.equal(first));
  EXPECT_LT(off(parameters[2].tensor.detach(), last * (1 - 0.1 * 0.1)), 1e-12);
}

TEST(GroupsOfExperts, GradientsOfFrozenOnesCountInNoNorm) {
  const Groups groups = {{.match = "layers.3.moe.experts", .experts = {2}, .frozen = true}};
  auto parameters = parameters_with_experts();
  train::freeze(parameters, groups);
  const train::FrozenState frozen(parameters, groups);
  for (const auto& parameter : parameters)
    parameter.tensor.mutable_grad() = at::ones_like(parameter.tensor).detach();
  parameters[2].tensor.grad()[2].fill_(NAN);
  parameters[3].tensor.grad()[2].fill_(1e6);
  frozen.clear_gradients();
  int64_t numbers = 0;
  for (const auto& parameter : parameters) numbers += parameter.tensor.numel();
  EXPECT_NEAR(train::gradient_norm(parameters, parallel::local()),
              std::sqrt(static_cast<double>(numbers - 8 * 4 - 8)), 1e-9);
}

TEST(GroupsOfExperts, RefuseWhatIsNotThere) {
  const auto refusal = [](const train::ParameterGroup& group) {
    auto parameters = parameters_with_experts();
    return message_of([&] { train::freeze(parameters, {group}); });
  };
  EXPECT_EQ(refusal({.match = "layers.3.moe.experts", .experts = {0, 5}, .frozen = true}), "");
  EXPECT_PRED2(contains, refusal({.match = "layers.3.moe.experts", .experts = {2, 6}}),
               "expected experts of the group 'layers.3.moe.experts' in [0, 6), as "
               "'layers.3.moe.experts.w_in' has, got 6");
  EXPECT_PRED2(contains, refusal({.match = "layers.0.attention.*", .experts = {0}}),
               "expected something that has experts for the group 'layers.0.attention.*'");
  EXPECT_PRED2(contains, refusal({.match = "layers.9.moe.experts", .experts = {0}}),
               "got 'layers.9.moe.experts', which fits none");
  EXPECT_PRED2(contains, refusal({.match = "*", .frozen = true}), "got 5 that are all frozen");
  EXPECT_EQ(refusal({.match = "*", .experts = {0, 1, 2, 3, 4, 5}, .frozen = true}), "");

  Parameters modules;
  for (int64_t e = 0; e < 3; ++e)
    modules.push_back(
        learning(concat("experts.", e, ".weight"), {2, 2}, {.part = Part::kExperts, .expert = e}));
  EXPECT_ERROR(train::freeze(modules, {{.match = "experts", .experts = {1, 3}}}),
               "expected experts that are there in the group 'experts', got 3");

  const auto read = [](Value experts) {
    Table group, table;
    group.set("match", "*");
    group.set("experts", std::move(experts));
    table.set("groups", Array{Value(group)});
    train::OptimizerOptions options;
    return message_of([&] { read_fields(options, table, "train.optimizer"); });
  };
  EXPECT_EQ(read(Array{2, 5}), "");
  EXPECT_PRED2(contains, read(Array{2, -1}), "groups[0].experts' to be numbers from 0, got -1");
  EXPECT_PRED2(contains, read(Array{2, 5, 2}), "to name an expert once, got 2 twice");
  EXPECT_PRED2(contains, read(Array{2, 1.5}), "groups[0].experts[1]");
  EXPECT_PRED2(contains, read(3), "groups[0].experts");
}

TEST(GroupsOfExperts, AreFrozenWholeOnlyWhenAllRanksFreezeAllTheirs) {
  for (const auto& [experts, learns] :
       {std::pair{std::vector<int64_t>{0, 1}, true}, {std::vector<int64_t>{0, 1, 2, 3}, false}})
    parallel::run_ranks(2, [&, experts = experts,
                            learns = learns](const std::shared_ptr<parallel::Communicator>& group) {
      ParameterInfo info = kStackInfo;
      info.sharded = true;
      info.first_expert = 2 * group->rank();
      info.whole = 4;
      const Parameters parameters = {learning("experts.w_in", {2, 3, 3}, info),
                                     learning("other", {3, 3}, kMatrixInfo)};
      const Groups groups = {{.match = "experts", .experts = experts, .frozen = true}};
      const bool mine = group->rank() == 1 && learns;
      EXPECT_EQ(train::freeze(parameters, groups, *group), 9 + (mine ? 18 : 0));
      EXPECT_EQ(parameters[0].tensor.requires_grad(), learns);
      train::OptimizerOptions options;
      options.groups = groups;
      const auto optimizer = train::make_optimizer(parameters, options);
      const Tensor before = parameters[0].tensor.detach().clone();
      for (const auto& parameter : optimizer->parameters())
        parameter.tensor.mutable_grad() = at::ones_like(parameter.tensor).detach();
      train::FrozenState(parameters, groups).clear_gradients();
      if (learns) {
        EXPECT_EQ(parameters[0].tensor.grad().ne(0).any().item<bool>(), mine);
      }
      optimizer->step(0.1, 0);
      EXPECT_EQ(parameters[0].tensor.equal(before), !mine);
      // Counts of updates are the same on all ranks.
      for (const auto& state : optimizer->state())
        if (state.name == "steps") {
          EXPECT_TRUE(state.tensor.eq(1).all().item<bool>());
        }
      EXPECT_ERROR(train::freeze(parameters, {{.match = "experts", .experts = {4}}}, *group),
                   "in [0, 4)");
    });
}

}  // namespace
}  // namespace moe::test::expert_groups_test
