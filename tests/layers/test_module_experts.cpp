// A MoE layer around modules of a user , on one rank and several. T tokens, D width, E
// experts.
#include <algorithm>
#include <map>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include <moe/experts/modules.h>
#include <moe/layers/moe_layer.h>
#include <moe/parallel/gradients.h>
#include <moe/parallel/threads.h>
#include <moe/train/optimizer.h>
#include <moe/train/revive.h>

namespace moe::layers::module_experts_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::normal;
using Group = std::shared_ptr<parallel::Communicator>;

constexpr int64_t T = 12, D = 5, E = 4;

/// Experts of different widths, the same numbers wherever they are made.
experts::ModuleExpert net(int64_t expert) {
  torch::nn::Sequential out(torch::nn::Linear(D, expert + 2), torch::nn::Tanh(),
                            torch::nn::Linear(expert + 2, D));
  moe::test::randomise(*out, 40 + static_cast<uint64_t>(expert));
  return out;
}

experts::ModuleExpert equal_net(int64_t expert) {
  torch::nn::Linear out(D, D);
  moe::test::randomise(*out, static_cast<uint64_t>(expert));
  return out;
}

MoELayerOptions options() {
  return {.d_model = D, .num_experts = E, .top_k = 2, .balance = {{"switch", 0.1}}};
}

MoELayer make(const MoELayerOptions& o, const Group& group = parallel::local(),
              const experts::ModuleFactory& factory = net) {
  MoELayer layer(o, experts::modules(factory), group);
  layer->to(at::kDouble);
  const at::NoGradGuard no_grad;
  layer->router().named_parameters()["weight"].copy_(normal({E, D}, 7));
  return layer;
}

TEST(ModuleExpertsInALayer, EqualALoopOverTokens) {
  auto layer = make(options());
  const Tensor x_TD = normal({T, D}, 3);
  const MoEOutput out = layer->forward_tokens(x_TD, LayerContext());
  std::vector<experts::ModuleExpert> loop;
  for (int64_t e = 0; e < E; ++e) loop.push_back(net(e));
  for (int64_t t = 0; t < T; ++t) {
    Tensor y_1D = at::zeros({1, D}, at::kDouble);
    for (int64_t k = 0; k < 2; ++k) {
      const int64_t n = 2 * t + k, e = out.routing.experts_N[n].item<int64_t>();
      y_1D =
          y_1D + out.routing.weights_N[n] * loop[static_cast<size_t>(e)](x_TD.slice(0, t, t + 1));
    }
    expect_close(out.hidden_TD[t], y_1D[0], 1e-13);
  }
}

TEST(ModuleExpertsInALayer, GradientsEqualDirectionalDifferences) {
  auto layer = make(options());
  auto tensors = moe::test::named_parameters_of(*layer);
  const Tensor x_TD = normal({T, D}, 3);
  tensors.emplace_back("x", x_TD);
  moe::test::expect_directional_gradients(
      [&] {
        const MoEOutput out = layer->forward_tokens(x_TD, LayerContext());
        return out.hidden_TD.square().sum() + out.balance.loss();
      },
      tensors);
}

TEST(ModuleExpertsInALayer, KeepTheirStartAndTheirNames) {
  MoELayer layer(options(), experts::modules(net));
  const auto names = layer->named_parameters().keys();
  EXPECT_EQ(names[0], "router.weight");
  EXPECT_EQ(names[1], "experts.0.0.weight");
  expect_identical(layer->named_parameters()["experts.3.2.weight"].detach(),
                   net(3).module()->named_parameters()["2.weight"].detach());
}

TEST(ModuleExpertsInALayer, ComputeTheSameOnSeveralRanks) {
  const moe::test::WithThreads one_thread(1);
  MoELayerOptions sharded = options();
  sharded.dispatcher = "all_to_all";
  const Tensor x_TD = normal({T, D}, 3);
  const auto run = [&](MoELayer layer, const Group& group, int64_t first, int64_t tokens) {
    LayerContext context;
    context.training = true;
    context.tokens.first_token = first;
    const Tensor x = x_TD.slice(0, first, first + tokens).clone().set_requires_grad(true);
    const MoEOutput out = layer->forward_tokens(x, context);
    (out.hidden_TD.square().sum() + out.balance.loss()).backward();
    parallel::reduce_gradients(parameters_of(*layer), group);
    auto found = moe::test::gradients_of(*layer);
    found["y"] = out.hidden_TD.detach();
    found["dx"] = x.grad();
    return found;
  };
  const auto expected = run(make(options()), parallel::local(), 0, T);
  // The last split leaves a rank without tokens.
  for (const std::vector<int64_t>& tokens : {std::vector<int64_t>{7, 5}, {12, 0}, {3, 0, 8, 1}}) {
    std::vector<std::map<std::string, Tensor>> of_rank(tokens.size());
    parallel::run_ranks(static_cast<int64_t>(tokens.size()), [&](const Group& group) {
      const auto rank = static_cast<size_t>(group->rank());
      int64_t first = 0;
      for (size_t r = 0; r < rank; ++r) first += tokens[r];
      of_rank[rank] = run(make(sharded, group), group, first, tokens[rank]);
    });
    std::vector<Tensor> y, dx;
    std::map<std::string, Tensor> all;
    for (const auto& found : of_rank) {
      y.push_back(found.at("y"));
      dx.push_back(found.at("dx"));
      for (const auto& [name, gradient] : found) all[name] = gradient;
    }
    all["y"] = at::cat(y);
    all["dx"] = at::cat(dx);
    ASSERT_EQ(all.size(), expected.size());
    for (const auto& [name, tensor] : expected) expect_close(all.at(name), tensor, 1e-12, name);
  }
}

TEST(ModuleExpertsInALayer, TermsOnWeightsNeedModulesOfOneShape) {
  MoELayerOptions o = options();
  Table of_experts;
  of_experts.set("of", "experts");
  o.balance = {{"expert_l2", 0.1}, {"orthogonality", 0.1, of_experts}};
  auto equal = make(o, parallel::local(), equal_net);
  LayerContext context;
  context.training = true;  // inference reads no weights
  moe::test::expect_directional_gradients(
      [&] {
        return equal->forward_tokens(normal({T, D}, 3), context).balance.loss();
      },
      {{"experts.2.weight", equal->named_parameters()["experts.2.weight"]}});
  auto unequal = make(o);
  EXPECT_ERROR(unequal(normal({T, D}, 3)), "experts of one shape for a term on their weights");
}

TEST(ModuleExpertsInALayer, TheirMatricesDecayAndTheirBiasesDoNot) {
  auto layer = make(options());
  const auto parameters = parameters_of(*layer);
  std::map<std::string, Tensor> before;
  for (const auto& [name, parameter, info] : parameters) {
    before[name] = parameter.detach().clone();
    parameter.mutable_grad() = at::zeros_like(parameter).detach();
  }
  const auto optimizer = train::make_optimizer(parameters, {});
  optimizer->step(0.1, 0);
  expect_close(layer->named_parameters()["experts.1.0.weight"].detach(),
               before["experts.1.0.weight"] * (1 - 0.1 * 0.1), 1e-12);
  expect_identical(layer->named_parameters()["experts.1.0.bias"].detach(),
                   before["experts.1.0.bias"]);
  const auto state = optimizer->state();
  const auto has = [&](const std::string& name) {
    return std::any_of(state.begin(), state.end(), [&](auto& item) { return item.name == name; });
  };
  EXPECT_TRUE(has("experts.1.0.weight.exp_avg") && has("experts.1.0.weight.steps"));
  EXPECT_EQ(state.back().name, "steps");
  EXPECT_EQ(state.back().tensor.numel(), 1) << "the router alone";
}

TEST(ModuleExpertsInALayer, RefuseAMakerThatMakesNothing) {
  EXPECT_ERROR(
      MoELayer(options(),
               [](const experts::ExpertsShape&) { return std::shared_ptr<experts::Experts>(); }),
      "expected experts from make_experts, got none");
}

std::shared_ptr<train::Optimizer> after_a_step(MoELayer& layer) {
  const auto parameters = parameters_of(*layer);
  for (const auto& parameter : parameters)
    parameter.tensor.mutable_grad() = at::ones_like(parameter.tensor).detach();
  auto out = train::make_optimizer(parameters, {});
  out->step(0.01, 0);
  return out;
}

TEST(ModuleExpertsInALayer, ADeadOneStartsAgainFromItsEqual) {
  auto layer = make(options(), parallel::local(), equal_net);
  const auto optimizer = after_a_step(layer);
  const auto p = layer->named_parameters();
  const Tensor other = p["experts.2.weight"].detach().clone();
  train::revive({.layer = 0, .expert = 3, .busiest = 1}, *layer, *optimizer, parallel::local(), 5,
                7);
  const Tensor from = p["experts.1.weight"].detach();
  EXPECT_LT((p["experts.3.weight"] - from).abs().max().item<double>(),
            0.06 * from.square().mean().sqrt().item<double>());
  EXPECT_FALSE(p["experts.3.weight"].equal(from));
  expect_identical(p["experts.2.weight"].detach(), other);
  for (const auto& state : optimizer->state())
    if (state.name.find("experts.3.weight.exp_avg") != std::string::npos) {
      EXPECT_TRUE(state.tensor.eq(0).all().item<bool>());
    }
}

TEST(ModuleExpertsInALayer, ADeadOneUnlikeTheBusiestStaysAsItIs) {
  auto layer = make(options());
  const auto optimizer = after_a_step(layer);
  const auto before = layer->named_parameters()["experts.3.0.weight"].detach().clone();
  const auto row = layer->named_parameters()["router.weight"].detach().clone();
  const auto message = train::revive({.layer = 0, .expert = 3, .busiest = 1}, *layer, *optimizer,
                                     parallel::local(), 5, 7);
  EXPECT_PRED2(moe::test::contains, message, "stays as it is");
  expect_identical(layer->named_parameters()["experts.3.0.weight"].detach(), before);
  expect_identical(layer->named_parameters()["router.weight"].detach(), row);
}

}  // namespace

}  // namespace moe::layers::module_experts_test
