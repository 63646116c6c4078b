// A layer that starts with one expert taking nearly every token becomes even with each balance
// rule, and does not without. T tokens, D width, E experts.
#include <algorithm>
#include <map>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/modules.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/moe_layer.h>
#include <moe/train/optimizer.h>

namespace moe::layers::skewed_start_test {

namespace {

using moe::test::normal;

constexpr int64_t kTokens = 128, D = 8, E = 4, kSteps = 400, kEvery = 10;
constexpr double kLearningRate = 0.01, kSkew = 3;
/// Max over mean load: 4 when one expert takes all. Even is what random tokens give, and a bit.
constexpr double kEven = 1.5, kUneven = 2;
const std::vector<uint64_t> kSeeds = {1, 2, 3};

/// A way to balance, or none.
struct Rule {
  std::string name;
  MoELayerOptions options;
};

MoELayerOptions top_one(const std::string& router, const Table& more = {}) {
  MoELayerOptions o{.d_model = D, .num_experts = E, .top_k = 1, .expert = {.d_ff = 4}};
  o.router.kind = router;
  o.router.options = more;
  o.router.options.set("bias", true);
  return o;
}

Table sigmoid_options(double bias_rate) {
  Table options;
  options.set("renormalise", false);
  options.set("bias_rate", bias_rate);
  return options;
}

/// Terms that are worse when one expert has all than at balance; specialisation is not.
bool claims_to_balance(const balance::Term& term) {
  Tensor logits_TE = at::zeros({kTokens, E}, at::kDouble);
  logits_TE.select(1, 0).fill_(100);
  Routing routing =
      fixed_choices(at::zeros({kTokens, 1}, at::kLong), at::zeros({kTokens, 1}, at::kDouble), E);
  routing.logits_TE = logits_TE;
  routing.scores_TE = logits_TE.softmax(1);
  const LayerContext context;
  const Tensor sums = term.sums({routing, context}).to(at::kDouble);
  return term.value(sums, context).item<double>() > term.value_at_balance() + 1e-6;
}

/// Terms differ in scale: squares of shares are small, and so is the present's part in running
/// means.
double coefficient(const std::string& kind) {
  if (kind == "usage_variance") return 100;
  if (kind == "squared_deviation") return 5;
  return kind == "load" ? 3 : 1;
}

Table options_of(const std::string& kind) {
  Table options;
  // The default remembers 100 steps and answers as late.
  if (kind == "usage_variance") options.set("decay", 0.9);
  return options;
}

std::vector<Rule> rules() {
  std::vector<Rule> out;
  for (const std::string& kind : balance::terms().names()) {
    if (!claims_to_balance(*balance::terms().at(kind).make({.num_experts = E, .top_k = 1}, {})))
      continue;
    out.push_back({kind, top_one("switch")});
    out.back().options.balance = {{kind, coefficient(kind), options_of(kind)}};
  }
  out.push_back({"loss_free_bias", top_one("sigmoid", sigmoid_options(0.01))});
  return out;
}

std::vector<Rule> without() {
  return {{"softmax_alone", top_one("switch")},
          {"sigmoid_alone", top_one("sigmoid", sigmoid_options(0))}};
}

double max_over_mean(MoELayer& layer, const Tensor& x_TD) {
  const at::NoGradGuard no_grad;
  const Tensor load_E = layer->forward_tokens(x_TD, LayerContext()).balance.load_E;
  return (load_E.max() / load_E.mean()).item<double>();
}

/// The load of fresh tokens every kEvery steps, while the layer learns a linear map of its tokens.
std::vector<double> loads_while_learning(const Rule& rule, uint64_t seed) {
  MoELayerOptions o = rule.options;
  o.seed = static_cast<int64_t>(seed);
  MoELayer layer(o);
  layer->to(at::kDouble);
  {
    const at::NoGradGuard no_grad;
    layer->router().named_parameters()["bias"][0].fill_(kSkew);
  }
  const auto optimizer = train::make_optimizer(parameters_of(*layer), {.weight_decay = 0});
  const Tensor map_DD = normal({D, D}, 100 + seed) / 3, fresh_TD = normal({512, D}, 200 + seed);
  std::vector<double> loads = {max_over_mean(layer, fresh_TD)};
  for (int64_t step = 0; step < kSteps; ++step) {
    const Tensor x_TD = normal({kTokens, D}, 1000 * seed + static_cast<uint64_t>(step));
    LayerContext context;
    context.training = true;
    context.random = {.seed = seed, .step = static_cast<uint64_t>(step)};
    const MoEOutput out = layer->forward_tokens(x_TD, context);
    ((out.hidden_TD - x_TD.matmul(map_DD)).square().mean() + out.balance.loss()).backward();
    optimizer->step(kLearningRate, step);
    optimizer->zero_gradients();
    layer->end_step({.counts_E = out.balance.load_E.to(at::kLong), .step = step});
    if ((step + 1) % kEvery == 0) loads.push_back(max_over_mean(layer, fresh_TD));
  }
  return loads;
}

/// The first step from which on the load stays even; -1 when it is not even in the end.
int64_t even_from(const std::vector<double>& loads) {
  const auto last_uneven =
      std::find_if(loads.rbegin(), loads.rend(), [](double load) { return load > kEven; });
  const auto measured = loads.rend() - last_uneven;
  return last_uneven == loads.rbegin() ? -1 : static_cast<int64_t>(measured) * kEvery;
}

class SkewedStart : public testing::TestWithParam<Rule> {};
INSTANTIATE_TEST_SUITE_P(Rules, SkewedStart, testing::ValuesIn(rules()),
                         [](const auto& info) { return info.param.name; });

TEST_P(SkewedStart, BecomesEven) {
  const moe::test::WithThreads one_thread(1);
  std::string steps;
  for (const uint64_t seed : kSeeds) {
    const auto loads = loads_while_learning(GetParam(), seed);
    EXPECT_GT(loads.front(), 3.5) << "the start is not skewed";
    EXPECT_GE(even_from(loads), 0) << "seed " << seed << ": " << loads.back() << " in the end";
    steps += concat(' ', even_from(loads));
  }
  std::printf("even from step%s with %s\n", steps.c_str(), GetParam().name.c_str());
}

class SkewedStartAlone : public testing::TestWithParam<Rule> {};
INSTANTIATE_TEST_SUITE_P(Routers, SkewedStartAlone, testing::ValuesIn(without()),
                         [](const auto& info) { return info.param.name; });

TEST_P(SkewedStartAlone, StaysSkewed) {
  const moe::test::WithThreads one_thread(1);
  for (const uint64_t seed : kSeeds) {
    const auto loads = loads_while_learning(GetParam(), seed);
    EXPECT_GT(*std::min_element(loads.begin(), loads.end()), kUneven) << "seed " << seed;
  }
}

}  // namespace

}  // namespace moe::layers::skewed_start_test
