// Capacity inside the layer: gradients, what is reported, ranks, and layers of other libraries.
// T tokens, D width, F hidden, E experts, K choices, S tokens a sequence.
#include <map>
#include <tests/reference/moe_layer.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/formats/safetensors.h>
#include <moe/layers/moe_layer.h>
#include <moe/parallel/gradients.h>
#include <moe/parallel/threads.h>

namespace moe::layers::layer_capacity_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::named_parameters_of;
using moe::test::normal;
using moe::test::randomise;

constexpr int64_t T = 24, D = 6, E = 4, K = 2, S = 6;

const std::vector<std::string> kOrders = {"choice", "priority", "random", "token"};
const std::vector<std::string> kOverflows = {"drop", "next_best"};

MoELayerOptions options(const CapacityOptions& capacity) {
  return {.d_model = D,
          .num_experts = E,
          .top_k = K,
          .expert = {.d_ff = 3},
          .balance = {{"switch", 1}, {"z_loss", 0.1}},
          .capacity = capacity};
}

/// A router far from ties: a finite difference must not change who is chosen.
MoELayer make(const MoELayerOptions& o) {
  MoELayer layer(o);
  randomise(*layer, 1);
  ops::fill_normal_(layer->named_parameters()["router.weight"], RandomStream(4, "far"), 3);
  return layer;
}

LayerContext sequences(int64_t tokens = T, int64_t length = S) {
  LayerContext context;
  context.tokens.sequences = Sequences::equal(tokens / length, length);
  return context;
}

LayerContext training(uint64_t step = 0, int64_t tokens = T) {
  LayerContext context = sequences(tokens);
  context.training = true;
  context.random = {.seed = 2, .step = step};
  return context;
}

TEST(LayerCapacity, GradientsEqualCentralDifferencesWithEveryPolicy) {
  for (const auto& order : kOrders)
    for (const auto& overflow : kOverflows)
      for (const bool renormalise : {false, true}) {
        SCOPED_TRACE(order + ' ' + overflow);
        auto layer = make(options(
            {.factor = 0.6, .order = order, .overflow = overflow, .renormalise = renormalise}));
        Tensor x_TD = normal({T, D}, 3);
        auto inputs = named_parameters_of(*layer);
        inputs.emplace_back("x", x_TD);
        EXPECT_GT(layer->forward_tokens(x_TD, training()).balance.dropped.item<double>(), 0);
        moe::test::expect_directional_gradients(
            [&] {
              const MoEOutput out = layer->forward_tokens(x_TD, training());
              return (out.hidden_TD * normal({T, D}, 5)).sum() + out.balance.loss();
            },
            inputs);
      }
}

TEST(LayerCapacity, ReportsLoadsBeforeDropsAndDropsBesideThem) {
  const Tensor x_TD = normal({T, D}, 3);
  auto free = make(options({}));
  const MoEOutput all = free->forward_tokens(x_TD, training());
  EXPECT_EQ(all.balance.dropped.item<double>(), 0);
  for (const auto& overflow : kOverflows) {
    auto layer = make(options({.factor = 0.6, .overflow = overflow}));
    const MoEOutput out = layer->forward_tokens(x_TD, training());
    expect_identical(out.balance.load_E, all.balance.load_E);
    expect_identical(out.balance.loss(), all.balance.loss());
    // C = ceil(0.6 * 2 * 6 / 4) = 2, in 4 sequences.
    EXPECT_LE(out.routing.counts_E().max().item<int64_t>(), 8);
    const double kept = out.routing.counts_E().sum().item<double>();
    EXPECT_GT(out.balance.dropped.item<double>(), 0);
    EXPECT_EQ(out.balance.dropped.item<double>(), T * K - kept);
    expect_identical(layer->forward_tokens(x_TD, sequences()).hidden_TD,
                     free->forward_tokens(x_TD, LayerContext()).hidden_TD,
                     "evaluation is dropless");
  }
}

TEST(LayerCapacity, EqualsTheMixtureOfWhatIsLeft) {
  const Tensor x_TD = normal({T, D}, 3);
  for (const auto& kind : routing::routers().names()) {
    if (kind == "replay") continue;  // has nothing to replay here
    if (kind == "base") continue;    // shares tokens out itself, and refuses a capacity
    for (const auto& overflow : kOverflows) {
      const bool scores = kind != "hash" && kind != "thor";
      if (!scores && overflow == "next_best") continue;
      SCOPED_TRACE(kind + ' ' + overflow);
      auto o = options({.factor = 0.5, .eval_factor = 0.5, .overflow = overflow});
      o.router.kind = kind;
      o.top_k = kind == "switch" ? 1 : K;
      MoELayer layer(o);
      randomise(*layer, 1);
      LayerContext context = training();
      context.tokens.ids_T = at::arange(T, at::kLong);
      const MoEOutput out = layer->forward_tokens(x_TD, context);
      const Tensor expected_TD =
          test::reference::mixture(x_TD, out.routing, [&](int64_t e, const Tensor& x_D) {
            const Tensor offsets_L = at::arange(E + 1, at::kLong).gt(e).to(at::kLong);
            return layer->experts()
                .forward({x_D.unsqueeze(0), {}, offsets_L, at::zeros({1}, at::kLong)}, {})
                .squeeze(0);
          });
      expect_close(out.hidden_TD, expected_TD, 1e-12);
    }
  }
}

TEST(LayerCapacity, ExpertsThatSitOutAreNoDrops) {
  auto o = options({.factor = 0.6, .overflow = "next_best"});
  const Tensor x_TD = normal({T, D}, 3);
  auto whole = make(o);
  o.expert_dropout = 0.5;
  auto dropping = make(o);
  int64_t missing = 0;
  for (uint64_t step = 0; step < 6; ++step) {
    const MoEOutput out = dropping->forward_tokens(x_TD, training(step)),
                    all = whole->forward_tokens(x_TD, training(step));
    expect_identical(out.balance.dropped, all.balance.dropped);
    missing += out.routing.dropped().item<int64_t>() - all.routing.dropped().item<int64_t>();
  }
  EXPECT_GT(missing, 0);
}

/// What one rank gets and reports.
struct Outcome {
  Tensor hidden_TD, dx_TD, load_E, dropped, router_gradient;
};

Outcome run(const MoELayerOptions& o, const std::shared_ptr<parallel::Communicator>& group,
            const Tensor& x_TD, LayerContext context) {
  auto whole = make(options({}));
  MoELayer layer(o, group);
  layer->to(at::kDouble);
  {
    const at::NoGradGuard no_grad;
    const auto source = whole->named_parameters();
    for (auto& item : layer->named_parameters()) {
      const Tensor& all = source[item.key()];
      const int64_t L = item.value().size(0), rank = group->rank();
      item.value().copy_(
          item.value().sizes() == all.sizes() ? all : all.slice(0, rank * L, (rank + 1) * L));
    }
  }
  Tensor x = x_TD.clone().set_requires_grad(true);
  const MoEOutput out = layer->forward_tokens(x, context);
  const Tensor numbers_TD = normal({T, D}, 5).slice(0, context.tokens.first_token,
                                                    context.tokens.first_token + x_TD.size(0));
  ((out.hidden_TD * numbers_TD).sum() + out.balance.loss()).backward();
  return {out.hidden_TD.detach(), x.grad(), out.balance.load_E, out.balance.dropped,
          layer->named_parameters()["router.weight"].grad()};
}

TEST(LayerCapacity, IsTheSameOnAnyNumberOfRanksWithEitherDispatcher) {
  const moe::test::WithThreads one_thread(1);
  const Tensor x_TD = normal({T, D}, 3);
  for (const auto& order : kOrders)
    for (const auto& overflow : kOverflows)
      for (const int64_t group_tokens : {0, 12}) {
        SCOPED_TRACE(order + ' ' + overflow);
        auto o = options(
            {.factor = 0.6, .group_tokens = group_tokens, .order = order, .overflow = overflow});
        const Outcome expected = run(o, parallel::local(), x_TD, training());
        EXPECT_GT(expected.dropped.item<double>(), 0);
        o.dispatcher = "all_to_all";
        for (const std::vector<int64_t>& tokens :
             {std::vector<int64_t>{24}, {12, 12}, {0, 24}, {12, 0, 12, 0}}) {
          SCOPED_TRACE(testing::Message() << tokens.size() << " ranks");
          std::vector<Outcome> outcomes(tokens.size());
          parallel::run_ranks(static_cast<int64_t>(tokens.size()),
                              [&](const std::shared_ptr<parallel::Communicator>& group) {
                                const auto rank = static_cast<size_t>(group->rank());
                                LayerContext context = training(0, tokens[rank]);
                                for (size_t r = 0; r < rank; ++r)
                                  context.tokens.first_token += tokens[r];
                                outcomes[rank] =
                                    run(o, group,
                                        x_TD.slice(0, context.tokens.first_token,
                                                   context.tokens.first_token + tokens[rank]),
                                        context);
                              });
          std::vector<Tensor> hidden, dx;
          Tensor router_gradient = at::zeros_like(expected.router_gradient);
          for (const Outcome& outcome : outcomes) {
            hidden.push_back(outcome.hidden_TD);
            dx.push_back(outcome.dx_TD);
            router_gradient += outcome.router_gradient;
            expect_identical(outcome.load_E, expected.load_E);
            expect_identical(outcome.dropped, expected.dropped);
          }
          expect_close(at::cat(hidden), expected.hidden_TD, 1e-12);
          expect_close(at::cat(dx), expected.dx_TD, 1e-11);
          expect_close(router_gradient, expected.router_gradient, 1e-11);
        }
      }
}

TEST(LayerCapacity, CountsNoMoreMultiplicationsThanFindRoom) {
  const auto flops = [](const CapacityOptions& capacity) {
    return make(options(capacity))->flops_per_token();
  };
  constexpr int64_t kOne = 2 * 3 * D * 3;
  EXPECT_EQ(flops({}), 2 * D * E + 2 * kOne);
  EXPECT_EQ(flops({.factor = 1.25}), 2 * D * E + 2 * kOne);
  EXPECT_EQ(flops({.factor = 0.5}), 2 * D * E + kOne);
}

TEST(LayerCapacity, RefusesBadOptionsAndPartsOfGroups) {
  EXPECT_ERROR(make(options({.factor = -1})), "[capacity] expected a finite factor >= 0, got -1");
  auto layer = make(options({.factor = 1, .group_tokens = 5}));
  EXPECT_ERROR(layer->forward_tokens(normal({T, D}, 1), training()),
               "expected whole groups of group_tokens=5");
  auto o = options({.factor = 1, .overflow = "next_best"});
  o.router.kind = "hash";
  LayerContext context = training();
  context.tokens.ids_T = at::arange(T, at::kLong);
  MoELayer without_scores(o);
  EXPECT_ERROR(without_scores->forward_tokens(normal({T, D}, 1), context),
               "expected a router with scores");
}

/// Forward and gradients of a layer that another library computed; see case.json beside the files.
void expect_fixture(const std::string& name, const std::string& file, bool renormalise,
                    const std::string& activation, const CapacityOptions& capacity,
                    double tolerance) {
  SCOPED_TRACE(file);
  const Path folder = Path(MOE_SHARED_DIR) / "parity" / name;
  const auto inputs = formats::SafetensorsFile::open(folder / "inputs.safetensors"),
             expected = formats::SafetensorsFile::open(folder / file);
  const auto input = [&](const char* what) { return inputs.tensor(what).to(at::kDouble); };
  const Tensor x_TD = input("x").flatten(0, 1).set_requires_grad(true);
  const bool bias = inputs.contains("b1");
  auto o = options(capacity);
  o.d_model = x_TD.size(1);
  o.router.options.set("renormalise", renormalise);
  o.expert = {.kind = "ffn", .d_ff = inputs.tensor("w1").size(2)};
  o.expert.options.set("activation", activation);
  o.expert.options.set("bias", bias);
  o.balance = {};
  MoELayer layer(o);
  layer->to(at::kDouble);
  const auto parameters = layer->named_parameters();
  std::map<std::string, std::pair<std::string, bool>> names = {{"wg", {"router.weight", true}},
                                                               {"w1", {"experts.w_in", true}},
                                                               {"w2", {"experts.w_out", true}}};
  if (bias) names.insert({{"b1", {"experts.b_in", false}}, {"b2", {"experts.b_out", false}}});
  {
    const at::NoGradGuard no_grad;
    for (const auto& [theirs, ours] : names) {
      const Tensor value = input(theirs.c_str());
      parameters[ours.first].copy_(ours.second ? value.transpose(-1, -2) : value);
    }
  }
  const MoEOutput out = layer->forward_tokens(x_TD, sequences(x_TD.size(0), input("x").size(1)));
  (out.hidden_TD * input("r").flatten(0, 1)).sum().backward();

  expect_close(out.hidden_TD, expected.tensor("y").flatten(0, 1), tolerance, "y");
  expect_identical(out.routing.experts_N.lt(o.num_experts), expected.tensor("kept").flatten());
  const Tensor kept_N = expected.tensor("kept").flatten();
  EXPECT_EQ(out.balance.dropped.item<int64_t>(), kept_N.logical_not().sum().item<int64_t>());
  EXPECT_GT(out.balance.dropped.item<int64_t>(), 0);
  expect_close(out.routing.weights_N, expected.tensor("weights").flatten() * kept_N, tolerance);
  expect_close(x_TD.grad(), expected.tensor("grad.x").flatten(0, 1), tolerance, "grad.x");
  for (const auto& [theirs, ours] : names) {
    const Tensor gradient = parameters[ours.first].grad();
    expect_close(ours.second ? gradient.transpose(-1, -2) : gradient,
                 expected.tensor("grad." + theirs), tolerance, theirs);
  }
}

TEST(LayerCapacity, EqualsLayersOfOtherLibraries) {
  for (const char* name : {"v_moe_layer", "glam_layer"})
    if (!real_files().exists(Path(MOE_SHARED_DIR) / "parity" / name))
      GTEST_SKIP() << "2 fixtures missing: v_moe_layer, glam_layer";
  expect_fixture("v_moe_layer", "expected.safetensors", false, "gelu_tanh", {.limit = 5}, 1e-9);
  expect_fixture("v_moe_layer", "expected_batch_priority.safetensors", false, "gelu_tanh",
                 {.limit = 5, .order = "priority"}, 1e-9);
  // Its weights are over a sum plus 1e-9.
  expect_fixture("glam_layer", "expected.safetensors", true, "relu", {.limit = 5}, 1e-8);
}

}  // namespace

}  // namespace moe::layers::layer_capacity_test
