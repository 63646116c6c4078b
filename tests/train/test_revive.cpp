// A dead expert starts again from the busiest one. E experts, D width.
#include <map>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include <moe/experts/modules.h>
#include <moe/parallel/threads.h>
#include <moe/train/groups.h>
#include <moe/train/revive.h>

#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

using at::Tensor;
using Group = std::shared_ptr<parallel::Communicator>;

constexpr train::DeadExpert kDead{.layer = 1, .expert = 3, .busiest = 1};

models::ModelSpec model_of(const std::string& router, const std::string& dispatcher) {
  models::DecoderOptions options;
  options.d_model = 8;
  options.uniform.layers = 2;
  options.uniform.heads = 2;
  auto& moe = options.uniform.moe;
  moe.num_experts = 4;
  moe.expert.d_ff = 6;
  moe.router.kind = router;
  moe.dispatcher = dispatcher;
  return options;
}

/// A model after one step, and what reviving an expert did to it.
struct Revived {
  Revived(const models::ModelSpec& spec, const Group& group,
          const std::vector<train::ParameterGroup>& groups = {})
      : model(models::make_model(spec, 1, {.layout = group})) {
    train::freeze(tensors_of(*model), groups, *group);
    train::OptimizerOptions options;
    options.groups = groups;
    optimizer = train::make_optimizer(parameters_of(*model), options);
    for (const auto& parameter : optimizer->parameters())
      parameter.tensor.mutable_grad() = at::ones_like(parameter.tensor).detach();
    optimizer->step(0.01, 0);
    for (const auto& parameter : optimizer->parameters())
      before[parameter.name] = parameter.tensor.detach().clone();
    message = train::revive(kDead, *model->blocks()[1], *optimizer, group, 5, 7);
  }

  std::shared_ptr<models::Model> model;
  std::shared_ptr<train::Optimizer> optimizer;
  std::map<std::string, Tensor> before;
  std::string message;
};

TEST(Revive, TakesRowsOfItsLayersExpertsAndLeavesWhatExpertsShare) {
  for (const char* router : {"topk", "mlp", "cosine"}) {
    SCOPED_TRACE(router);
    const Revived found(model_of(router, "local"), parallel::local());
    EXPECT_EQ(found.message, "expert 3 of layer 1 starts again from expert 1.");
    const auto& parameters = found.optimizer->parameters();
    int64_t changed = 0;
    for (size_t i = 0; i < parameters.size(); ++i) {
      const auto& [name, tensor, info] = parameters[i];
      SCOPED_TRACE(name);
      const Tensor now = tensor.detach(), old = found.before.at(name);
      const auto moments = found.optimizer->moments(i);
      if (!name.starts_with("layers.1.") || !info.per_expert) {
        EXPECT_TRUE(now.equal(old));
        EXPECT_TRUE(moments[0].ne(0).all().item<bool>());
        continue;
      }
      ++changed;
      EXPECT_TRUE(now.slice(0, 0, 3).equal(old.slice(0, 0, 3)));
      EXPECT_FALSE(now[3].equal(old[1]));
      const double scale = old[1].square().mean().sqrt().item<double>();
      EXPECT_LT((now[3] - old[1]).abs().max().item<double>(), 0.06 * scale);
      EXPECT_TRUE(moments[0].slice(0, 0, 3).ne(0).all().item<bool>());
      EXPECT_TRUE(moments[0][3].eq(0).all().item<bool>());
      EXPECT_TRUE(moments[1][3].eq(0).all().item<bool>());
    }
    // w_in and w_out of the experts, and what scores them.
    EXPECT_EQ(changed, router == std::string("mlp") ? 4 : 3);
  }
}

TEST(Revive, LeavesWhatIsFrozen) {
  const std::vector<train::ParameterGroup> cases = {
      {.match = "layers.1.moe.experts", .experts = {3}, .frozen = true},
      {.match = "layers.1.moe.router", .experts = {3}, .frozen = true},
      {.match = "layers.1.moe.router", .frozen = true},
      {.match = "layers.1.moe.experts.w_out", .frozen = true},
      {.match = "layers.1", .frozen = true}};
  for (const auto& frozen : cases)
    for (const int64_t ranks : {1, 2}) {
      SCOPED_TRACE(frozen.match);
      parallel::run_ranks(ranks, [&](const Group& group) {
        const Revived found(model_of("topk", "all_to_all"), group, {frozen});
        EXPECT_EQ(found.message,
                  "expert 3 of layer 1 stays as it is: it, or its row of the router, is frozen.");
        for (const auto& [name, tensor, info] : found.optimizer->parameters())
          EXPECT_TRUE(tensor.equal(found.before.at(name))) << name;
      });
    }
  // That others are frozen, the busiest among them, changes nothing.
  const Revived found(model_of("topk", "local"), parallel::local(),
                      {{.match = "layers.1.moe", .experts = {0, 1, 2}, .frozen = true}});
  EXPECT_EQ(found.message, "expert 3 of layer 1 starts again from expert 1.");
}

TEST(Revive, GivesTheSameNumbersOnAnyNumberOfRanks) {
  const Revived whole(model_of("topk", "local"), parallel::local());
  for (const int64_t ranks : {2, 4})
    parallel::run_ranks(ranks, [&](const Group& group) {
      const Revived part(model_of("topk", "all_to_all"), group);
      for (const auto& [name, tensor, info] : part.optimizer->parameters()) {
        for (const auto& other : whole.optimizer->parameters()) {
          if (other.name != name) continue;
          const Tensor expected =
              info.sharded
                  ? other.tensor.slice(0, info.first_expert, info.first_expert + tensor.size(0))
                  : other.tensor;
          EXPECT_TRUE(tensor.equal(expected)) << name;
        }
      }
    });
}

/// Experts that are modules: 1 and 3 alike, 0 and 2 of another width.
torch::nn::Sequential module_of(int64_t expert) {
  at::manual_seed(static_cast<uint64_t>(expert));
  const int64_t hidden = expert % 2 == 1 ? 6 : 5;
  return torch::nn::Sequential(torch::nn::Linear(8, hidden), torch::nn::Linear(hidden, 8));
}

TEST(Revive, CopiesModulesOfEqualShapesFromWhicheverRankHasThem) {
  experts::register_module_experts("modules_to_revive", "for this test",
                                   [](int64_t expert) { return module_of(expert); });
  auto spec = model_of("topk", "all_to_all");
  models::DecoderOptions options;
  read_fields(options, spec.options, "model");
  options.uniform.moe.expert = {.kind = "modules_to_revive"};
  spec = options;
  for (const int64_t ranks : {1, 2, 4})
    parallel::run_ranks(ranks, [&](const Group& group) {
      const Revived found(spec, group);
      EXPECT_EQ(found.message, "expert 3 of layer 1 starts again from expert 1.");
      for (size_t i = 0; i < found.optimizer->parameters().size(); ++i) {
        const auto& [name, tensor, info] = found.optimizer->parameters()[i];
        if (!info.expert) continue;
        const bool dead = *info.expert == 3 && name.starts_with("layers.1.");
        EXPECT_EQ(tensor.equal(found.before.at(name)), !dead) << name;
        EXPECT_EQ(found.optimizer->moments(i)[0].eq(0).all().item<bool>(), dead) << name;
      }
      const auto other = train::revive({.layer = 1, .expert = 3, .busiest = 0},
                                       *found.model->blocks()[1], *found.optimizer, group, 5, 8);
      EXPECT_EQ(other, "expert 3 of layer 1 stays as it is: it differs in shape from expert 0.");
    });
}

}  // namespace
}  // namespace moe::test
