// How parameters start, by role.
#include <cmath>

#include <gtest/gtest.h>

#include <moe/parameters/initialise.h>

#include "tests/parameters/modules.h"
#include "tests/support/compare.h"

namespace moe::test {
namespace {

std::map<std::string, Tensor> started(uint64_t seed, int64_t depth = 0,
                                      const std::string& prefix = "",
                                      const InitOptions& options = {}) {
  Leaf leaf;
  initialise(leaf, options, seed, depth, prefix);
  std::map<std::string, Tensor> out;
  for (const auto& parameter : tensors_of(leaf)) out[parameter.name] = parameter.tensor.detach();
  return out;
}

TEST(InitialiseRoles, StartAsTheyShould) {
  const auto p = started(1, 0, "", {.embedding_std = 2, .router_std = 0.5});
  EXPECT_TRUE(p.at("offset").eq(0).all().item<bool>());
  EXPECT_TRUE(p.at("counts").eq(0).all().item<bool>());
  EXPECT_TRUE(p.at("gain").eq(1).all().item<bool>());
  EXPECT_TRUE(p.at("started").eq(7).all().item<bool>());
  EXPECT_NEAR(p.at("table").std().item<double>(), 2, 0.5);
  EXPECT_NEAR(p.at("scores").std().item<double>(), 0.5, 0.4);
  EXPECT_NEAR(p.at("matrix").std().item<double>(), 0.5, 0.25);  // 1 / sqrt(4 inputs)
}

TEST(InitialiseRoles, TheSeedAndTheFullNameDecide) {
  expect_identical(started(1)["matrix"], started(1)["matrix"]);
  EXPECT_FALSE(started(1)["matrix"].equal(started(2)["matrix"]));
  EXPECT_FALSE(started(1, 0, "a.")["matrix"].equal(started(1, 0, "b.")["matrix"]));
}

TEST(InitialiseRoles, WhatIsAddedToTheResidualStreamShrinksWithDepth) {
  const auto flat = started(1), deep = started(1, 8);
  expect_close(deep.at("matrix") * 4, flat.at("matrix"), 1e-6);
  expect_identical(deep.at("scores"), flat.at("scores"));
}

TEST(InitialiseRoles, ModulesOfAUserKeepTheirStart) {
  Tree tree;
  const Tensor before = tree.named_parameters()["own.0.weight"].detach().clone();
  initialise(tree, {}, 3);
  expect_identical(tree.named_parameters()["own.0.weight"].detach(), before);
}

}  // namespace
}  // namespace moe::test
