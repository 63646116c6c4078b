// Routers with a given assignment. T tokens, D width, E experts, K choices per token, N pairs.
#include <cmath>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/routers.h>
#include <tests/support/temporary_folder.h>

#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

namespace moe::routing::forced_routers_test {

namespace {

using moe::test::experts_by_token;
using moe::test::normal;

constexpr int64_t kWidth = 5;

std::shared_ptr<Router> make(const std::string& kind, int64_t experts, int64_t top_k,
                             const Table& settings = {}) {
  return test::initialised_router(routers().at(kind).make(
      {.d_model = kWidth, .num_experts = experts, .top_k = top_k}, settings));
}

TEST(ForcedBalanceRouter, DealsExpertsRoundRobinByGlobalTokenNumber) {
  const auto router = make("forced_balance", 5, 3);
  const Tensor x_TD = normal({10, kWidth}, 1).to(at::kFloat);
  const Routing routing = router->forward(x_TD, {{}, {.first_token = 7}});
  const auto experts = experts_by_token(routing);
  for (int64_t t = 0; t < 10; ++t)
    for (int64_t j = 0; j < 3; ++j)
      EXPECT_EQ(experts[static_cast<size_t>(t)][static_cast<size_t>(j)], ((7 + t) * 3 + j) % 5);
  for (int64_t e = 0; e < 5; ++e) EXPECT_EQ(routing.counts_E()[e].item<int64_t>(), 6);
  EXPECT_TRUE(at::allclose(routing.weights_N.reshape({10, 3}).sum(1), at::ones({10})));
}

TEST(ForcedSkewRouter, DrawsTheFirstChoiceFromAZipfDistribution) {
  constexpr int64_t T = 20000, E = 8;
  for (const double exponent : {0.0, 1.0, 2.0}) {
    Table settings;
    settings.set("exponent", exponent);
    const auto router = make("forced_skew", E, 3, settings);
    const Routing routing = router->forward(at::zeros({T, kWidth}), {{.random = {.seed = 11}}});
    std::vector<double> first(E), expected;
    for (const auto& chosen : experts_by_token(routing)) ++first[static_cast<size_t>(chosen[0])];
    double total = 0;
    for (int64_t e = 0; e < E; ++e) total += std::pow(static_cast<double>(e + 1), -exponent);
    for (int64_t e = 0; e < E; ++e) {
      const double p = std::pow(static_cast<double>(e + 1), -exponent) / total;
      EXPECT_NEAR(first[static_cast<size_t>(e)] / T, p, 5 * std::sqrt(p * (1 - p) / T))
          << exponent << ' ' << e;
    }
  }
}

TEST(ForcedSkewRouter, RefusesANegativeExponent) {
  Table settings;
  settings.set("exponent", -1.0);
  EXPECT_ERROR(make("forced_skew", 4, 1, settings), "expected exponent >= 0, got -1");
}

void expect_same_pairs(const Routing& a, const Routing& b) {
  EXPECT_TRUE(at::equal(a.offsets, b.offsets));
  EXPECT_TRUE(at::equal(a.experts_N, b.experts_N));
  EXPECT_TRUE(at::equal(a.weights_N, b.weights_N));
  EXPECT_EQ(a.choices, b.choices);
  EXPECT_EQ(a.first_token, b.first_token);
  EXPECT_EQ(a.weight_on_input, b.weight_on_input);
}

std::shared_ptr<Replay> replay_of(const Routing& recording) {
  auto router = std::make_shared<Replay>(
      RouterShape{.d_model = kWidth, .num_experts = recording.num_experts, .top_k = 2},
      ReplayRouter{});
  test::initialised_router(router);
  router->set_assignment(recording);
  return router;
}

TEST(ReplayRouter, GivesBackWhatOtherRoutersDecided) {
  const Tensor x_TD = normal({8, kWidth}, 1).to(at::kFloat);
  for (const char* kind : {"topk", "expert_choice", "dense", "sigmoid"}) {
    const LayerContext context{{}, {.sequences = Sequences::equal(2, 4), .first_token = 20}};
    const Routing routing = make(kind, 4, 2)->forward(x_TD, context);
    const Routing recording = recorded(routing);
    EXPECT_FALSE(recording.weights_N.requires_grad());
    const Routing again = replay_of(recording)->forward(normal({8, kWidth}, 2), context);
    expect_same_pairs(recorded(again), recording);
    EXPECT_TRUE(again.logits_TE.defined());
  }
}

TEST(ReplayRouter, FindsTokensByTheirGlobalNumber) {
  const Tensor x_TD = normal({8, kWidth}, 1).to(at::kFloat);
  const Routing routing = make("expert_choice", 4, 2)->forward(x_TD, {{}, {.first_token = 20}});
  const auto all = experts_by_token(routing);
  const auto router = replay_of(recorded(routing));
  const Routing part = router->forward(x_TD.slice(0, 0, 3), {{}, {.first_token = 23}});
  moe::test::expect_valid(part, 3, 4);
  const auto found = experts_by_token(part);
  for (size_t t = 0; t < 3; ++t) EXPECT_EQ(found[t], all[3 + t]);
  EXPECT_ERROR(router->forward(x_TD, {{}, {.first_token = 21}}), "[20, 28), got [21, 29)");
  EXPECT_ERROR(router->forward(x_TD, {{}, {.first_token = 19}}), "[20, 28), got [19, 27)");
}

TEST(ReplayRouter, ReadsTheFileThatWriteRecordingWrote) {
  const test::TemporaryFolder folder;
  const Path path = folder.path() / "routing.safetensors";
  const Tensor x_TD = normal({8, kWidth}, 1).to(at::kFloat);
  Table on_input, replay_settings;
  on_input.set("weight_on", "input");
  replay_settings.set("path", path.string());
  const Routing routing = make("topk", 4, 2, on_input)->forward(x_TD, {{}, {.first_token = 3}});
  write_recording(real_files(), path, routing);
  expect_same_pairs(read_recording(path), recorded(routing));
  expect_same_pairs(
      recorded(make("replay", 4, 2, replay_settings)->forward(x_TD, {{}, {.first_token = 3}})),
      recorded(routing));
  EXPECT_ERROR(make("replay", 5, 2, replay_settings), "a recording for 5 experts, got 4");
}

TEST(ReplayRouter, HoldsItsRecordingItself) {
  const test::TemporaryFolder folder;
  const Path path = folder.path() / "routing.safetensors";
  const Tensor x_TD = normal({8, kWidth}, 1).to(at::kFloat);
  const Routing routing = make("expert_choice", 4, 2)->forward(x_TD, {{}, {.first_token = 3}});
  write_recording(real_files(), path, routing);
  Table settings;
  settings.set("path", path.string());
  const auto router = make("replay", 4, 2, settings);
  std::filesystem::remove(path);
  const LayerContext context{{}, {.first_token = 3}};
  expect_same_pairs(recorded(router->forward(x_TD, context)), recorded(routing));

  // What a checkpoint holds is enough for one that has seen no file.
  const auto other = make("replay", 4, 2);
  for (const auto& item : router->named_buffers())
    other->named_buffers()[item.key()].resize_(item.value().sizes()).copy_(item.value());
  expect_same_pairs(recorded(other->forward(x_TD, context)), recorded(routing));
  other->named_buffers()["experts"].fill_(7);
  EXPECT_ERROR(other->forward(x_TD, context), "expert ids in [0, 4], got others");
}

TEST(ReplayRouter, RefusesRecordingsThatAreNone) {
  Replay router({.d_model = kWidth, .num_experts = 4, .top_k = 2}, ReplayRouter{});
  const Tensor x_TD = at::zeros({2, kWidth});
  EXPECT_ERROR(router.forward(x_TD, {}), "got none");
  const Tensor weights_TK = at::ones({2, 2});
  EXPECT_ERROR(
      router.set_assignment(at::tensor({0, 1, 2, 5}, at::kLong).reshape({2, 2}), weights_TK),
      "expert ids in [0, 4]");
  EXPECT_ERROR(
      router.set_assignment(at::tensor({0, 1, 2, -1}, at::kLong).reshape({2, 2}), weights_TK),
      "expert ids in [0, 4]");
  EXPECT_ERROR(router.set_assignment(at::zeros({2, 1}, at::kLong), weights_TK),
               "weights of the same shape");
  Routing recording =
      fixed_choices(at::tensor({0, 1, 2, 3}, at::kLong).reshape({2, 2}), weights_TK, 4);
  recording.offsets = at::tensor({0, 3, 2}, at::kLong);
  EXPECT_ERROR(router.set_assignment(recording), "offsets that rise from 0 to the 4 pairs");
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();  // differences that wrap around
  Routing wrapping = recording;
  wrapping.choices = 0;
  wrapping.offsets =
      at::tensor({int64_t{0}, kMost, -kMost - 1, int64_t{-1}, int64_t{4}}, at::kLong);
  EXPECT_ERROR(router.set_assignment(wrapping), "offsets that rise from 0 to the 4 pairs");
  recording.offsets = at::tensor({0, 1, 4}, at::kLong);
  EXPECT_ERROR(router.set_assignment(recording), "2 choices for every token");
  recording.choices = 0;
  router.set_assignment(recording);
  EXPECT_EQ(router.forward(x_TD, {}).pairs(), 4);
}

}  // namespace

}  // namespace moe::routing::forced_routers_test
