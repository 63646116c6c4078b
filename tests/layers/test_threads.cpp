// The MoE layer on one and on more threads. T tokens, D width, F hidden, E experts, K choices.
#include <map>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/modules.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones_like.h>

#include <moe/layers/moe_layer.h>

namespace moe::layers::threads_test {

namespace {

using moe::test::expect_identical;
using moe::test::gradients_of;
using moe::test::normal;
using moe::test::randomise;
using moe::test::WithThreads;

struct Size {
  int64_t T, D, F, E, K;
};

/// More than the 32768 elements from which libtorch divides an operation are in (T, E) of each, and
/// in the (T) of the last.
const std::vector<Size> kSizes = {
    {5000, 64, 40, 8, 2}, {1200, 48, 56, 64, 3}, {400, 40, 24, 300, 2}, {40000, 8, 4, 4, 1}};

Table with(const char* key, bool value) {
  Table settings;
  settings.set(key, value);
  return settings;
}

/// A layer with every balance term (but those whose product of all experts' weights, or of the
/// router's, is libtorch's and depends on the threads), whose first experts take most of the tokens
/// of tokens_of().
MoELayer skewed_layer(const Size& size, const std::string& router, const std::string& expert,
                      at::ScalarType dtype) {
  MoELayerOptions o{.d_model = size.D, .num_experts = size.E, .top_k = size.K};
  o.router = {router, with("bias", true)};
  o.expert = {expert, size.F, with("bias", true)};
  for (const auto& kind : balance::terms().names())
    // Some need a router that has what they look at, or cannot be added up in any order.
    if (kind != "orthogonality" && kind != "domain_classifier" && kind != "gate_diversity" &&
        kind != "similarity" && kind != "relu_l1")
      o.balance.push_back({kind, 0.1, {}});
  MoELayer layer(o);
  randomise(*layer, 1, 0.1);
  const at::NoGradGuard no_grad;
  layer->named_parameters()["router.weight"].select(1, 0).copy_(at::linspace(2, -2, size.E));
  layer->to(dtype);
  return layer;
}

Tensor tokens_of(const Size& size, at::ScalarType dtype) {
  Tensor x_TD = normal({size.T, size.D}, 2);
  x_TD.select(1, 0).fill_(1);
  return x_TD.to(dtype);
}

/// Everything that a training step takes from the layer, by name.
std::map<std::string, Tensor> run(MoELayer& layer, const Tensor& x_TD, int threads) {
  const WithThreads these(threads);
  layer->zero_grad();
  const Tensor input_TD = x_TD.clone().requires_grad_(true);
  LayerContext context;
  context.training = true;
  context.random = {.seed = 3};
  context.tokens.sequences = Sequences::equal(4, x_TD.size(0) / 4);
  context.tokens.ids_T = at::arange(x_TD.size(0), at::kLong);
  const MoEOutput out = layer->forward_tokens(input_TD, context);
  const Tensor balance = out.balance.loss();
  std::vector<Tensor> ends = {out.hidden_TD}, weights = {x_TD};
  if (balance.requires_grad()) {  // routers without scores have nothing to balance
    ends.push_back(balance);
    weights.push_back(at::ones_like(balance));
  }
  torch::autograd::backward(ends, weights);
  auto results = gradients_of(*layer);
  results["output"] = out.hidden_TD.detach();
  results["input's"] = input_TD.grad();
  results["routing"] = out.routing.experts_N;
  if (out.routing.logits_TE.defined()) {
    results["logits"] = out.routing.logits_TE.detach();
    results["scores"] = out.routing.scores_TE.detach();
  }
  results["load"] = out.balance.load_E;
  results["balance loss"] = balance.detach();
  for (const auto& term : out.balance.terms) results["term " + term.name] = term.value.detach();
  return results;
}

void expect_threads_change_nothing(const std::string& router, const std::string& expert,
                                   const std::vector<Size>& sizes) {
  for (const auto& size : sizes)
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      MoELayer layer = skewed_layer(size, router, expert, dtype);
      const Tensor x_TD = tokens_of(size, dtype);
      const auto expected = run(layer, x_TD, 1);
      const Tensor& load_E = expected.at("load");
      EXPECT_GT(load_E.max().item<double>(), 1.5 * load_E.mean().item<double>());
      for (const int threads : {2, 3, 4})
        for (const auto& [name, tensor] : run(layer, x_TD, threads))
          expect_identical(tensor, expected.at(name),
                           concat(name, ", E ", size.E, ", ", dtype, ", ", threads, " threads"));
    }
}

TEST(MoELayer, ThreadsChangeNoBitOfTopKAndGatedExperts) {
  expect_threads_change_nothing("topk", "gated", kSizes);
}

TEST(MoELayer, ThreadsChangeNoBitOfTopKAndPlainExperts) {
  expect_threads_change_nothing("topk", "ffn", kSizes);
}

TEST(MoELayer, ThreadsChangeNoBitOfSigmoidAndGatedExperts) {
  expect_threads_change_nothing("sigmoid", "gated", kSizes);
}

TEST(MoELayer, ThreadsChangeNoBitOfSigmoidAndPlainExperts) {
  expect_threads_change_nothing("sigmoid", "ffn", kSizes);
}

/// Every router of the registry on a layer of its own defaults.
TEST(MoELayer, ThreadsChangeNoBitOfAnyRouter) {
  const Size size = kSizes[1];
  for (const auto& kind : routing::routers().names()) {
    if (kind == "replay") continue;  // has nothing to replay here
    SCOPED_TRACE(kind);
    MoELayerOptions o{.d_model = size.D, .num_experts = size.E, .top_k = size.K};
    o.router.kind = kind;
    o.expert = {"gated", size.F, {}};
    o.balance = {{"z_loss", 0.1, {}}, {"importance", 0.1, {}}};
    if (kind == "switch" || kind == "base") o.top_k = 1;
    if (kind == "sparsemixer") o.top_k = 2;
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      MoELayer layer(o);
      randomise(*layer, 1, 0.1);
      layer->to(dtype);
      const Tensor x_TD = tokens_of(size, dtype);
      const auto expected = run(layer, x_TD, 1);
      for (const int threads : {2, 3, 4})
        for (const auto& [name, tensor] : run(layer, x_TD, threads))
          expect_identical(tensor, expected.at(name),
                           concat(name, ", ", dtype, ", ", threads, " threads"));
    }
  }
}

}  // namespace

}  // namespace moe::layers::threads_test
