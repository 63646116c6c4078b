// A dead expert starts again from the busiest one (B20). No shape letters: (4 experts, …).
#include <map>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/train/revive.h>

namespace moe::test {
namespace {

TEST(Revive, TakesRowsOfItsLayersExpertsAndLeavesWhatExpertsShare) {
  at::manual_seed(1);
  train::NamedTensors parameters;
  for (const auto& [name, shape] : std::vector<std::pair<std::string, std::vector<int64_t>>>{
           {"layers.0.moe.router.weight", {4, 3}},
           {"layers.0.moe.router.hidden.w_in", {2, 3}},
           {"layers.0.moe.router.projection.scale", {1}},
           {"layers.0.moe.experts.w_in", {4, 2, 3}},
           {"layers.1.moe.router.weight", {4, 3}}}) {
    parameters.emplace_back(name, at::randn(shape, at::kDouble).requires_grad_(true));
    parameters.back().second.mutable_grad() = at::ones(shape, at::kDouble);
  }
  train::AdamW optimizer(parameters, {});
  optimizer.step(0.01, 0);
  std::map<std::string, at::Tensor> before, moments;
  for (const auto& [name, parameter] : parameters) before[name] = parameter.detach().clone();

  train::revive({.moe_layer = 0, .layer = 0, .expert = 3, .busiest = 1}, optimizer, 5, 7);

  for (const auto& [name, state] : optimizer.state()) moments[name] = state;
  for (const auto& [name, parameter] : parameters) {
    SCOPED_TRACE(name);
    const at::Tensor now = parameter.detach(), old = before.at(name);
    const at::Tensor moment = moments.at(name + ".exp_avg");
    if (name != "layers.0.moe.router.weight" && name != "layers.0.moe.experts.w_in") {
      EXPECT_TRUE(now.equal(old));
      EXPECT_TRUE(moment.ne(0).all().item<bool>());
      continue;
    }
    EXPECT_TRUE(now.slice(0, 0, 3).equal(old.slice(0, 0, 3)));
    EXPECT_FALSE(now[3].equal(old[1]));
    const double scale = old[1].square().mean().sqrt().item<double>();
    EXPECT_LT((now[3] - old[1]).abs().max().item<double>(), 0.06 * scale);
    EXPECT_TRUE(moment.slice(0, 0, 3).ne(0).all().item<bool>());
    EXPECT_TRUE(moment[3].eq(0).all().item<bool>());
  }
}

}  // namespace
}  // namespace moe::test
