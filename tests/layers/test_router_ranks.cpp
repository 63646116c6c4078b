// A layer with any registered router gives the same on one rank, on two and on four: outputs, the
// report, the gradient of every parameter. T tokens, D width, E experts, K choices, S tokens a
// sequence, W ranks.
#include <map>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/modules.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include <moe/layers/moe_layer.h>
#include <moe/parallel/threads.h>

namespace moe::layers::router_ranks_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::randomise;

constexpr int64_t T = 24, D = 8, E = 8, S = 6;

/// What kinds want to know of the tokens' kinds of text, of which there are 3.
const std::map<std::string, std::string> kSettings = {{"cross_modal", "modalities"},
                                                      {"task_adaptive", "tasks"}};

/// What the ranks together got and reported.
struct Outcome {
  Tensor hidden_TD, dx_TD, load_E, loss;
  std::map<std::string, Tensor> gradients = {};
};

MoELayer make(const std::string& kind, const std::shared_ptr<parallel::Communicator>& group) {
  MoELayerOptions o{.d_model = D,
                    .num_experts = E,
                    .top_k = 2,
                    .router = {.kind = kind},
                    .expert = {.d_ff = 3},
                    .balance = {{"switch", 1}, {"z_loss", 0.1}},
                    .dispatcher = "all_to_all"};
  if (const auto found = kSettings.find(kind); found != kSettings.end())
    o.router.options.set(found->second, int64_t{3});
  try {
    MoELayer layer(o, group);
    layer->to(at::kDouble);
    return layer;
  } catch (const ConfigError&) {  // a kind for one choice
    o.top_k = 1;
    MoELayer layer(o, group);
    layer->to(at::kDouble);
    return layer;
  }
}

/// The parameters of all experts and of a router far from ties.
std::map<std::string, Tensor> numbers_for(const std::string& kind) {
  auto whole = make(kind, parallel::local());
  randomise(*whole, 1);
  std::map<std::string, Tensor> numbers;
  for (const auto& item : whole->named_parameters()) {
    numbers[item.key()] = item.value().detach().clone();
    if (item.key() == "router.weight")
      ops::fill_normal_(numbers[item.key()], RandomStream(4, "far"), 1);
  }
  return numbers;
}

/// One rank's part: `count` tokens from `first` on.
Outcome run_rank(const std::string& kind, const std::map<std::string, Tensor>& numbers,
                 const std::shared_ptr<parallel::Communicator>& group, int64_t first,
                 int64_t count) {
  auto layer = make(kind, group);
  const int64_t share = E / group->size();
  {
    const at::NoGradGuard no_grad;
    for (auto& item : layer->named_parameters()) {
      const Tensor& all = numbers.at(item.key());
      const bool is_whole = item.value().sizes() == all.sizes();
      item.value().copy_(is_whole ? all : all.narrow(0, group->rank() * share, share));
    }
  }
  LayerContext context;
  context.training = true;
  context.random = {.seed = 2, .step = 3};
  context.tokens = {.sequences = Sequences::equal(count / S, S),
                    .first_token = first,
                    .ids_T = at::arange(T, at::kLong).remainder(11).narrow(0, first, count),
                    .domains_T = at::arange(T, at::kLong).remainder(3).narrow(0, first, count),
                    .num_domains = 3};
  Tensor x_TD = normal({T, D}, 3).narrow(0, first, count).clone().set_requires_grad(true);
  const MoEOutput out = layer->forward_tokens(x_TD, context);
  const Tensor weights_TD = normal({T, D}, 5).narrow(0, first, count);
  ((out.hidden_TD * weights_TD).sum() + out.balance.loss()).backward();
  Outcome outcome{out.hidden_TD.detach(), x_TD.grad(), out.balance.load_E,
                  out.balance.loss().detach()};
  for (const auto& item : layer->named_parameters())
    if (item.value().grad().defined()) outcome.gradients[item.key()] = item.value().grad();
  return outcome;
}

Outcome run(const std::string& kind, const std::map<std::string, Tensor>& numbers, int64_t ranks) {
  std::vector<Outcome> outcomes(static_cast<size_t>(ranks));
  parallel::run_ranks(ranks, [&](const std::shared_ptr<parallel::Communicator>& group) {
    const int64_t count = T / ranks;
    outcomes[static_cast<size_t>(group->rank())] =
        run_rank(kind, numbers, group, group->rank() * count, count);
  });
  Outcome all = outcomes.front();
  for (size_t w = 1; w < outcomes.size(); ++w) {
    const Outcome& one = outcomes[w];
    all.hidden_TD = at::cat({all.hidden_TD, one.hidden_TD});
    all.dx_TD = at::cat({all.dx_TD, one.dx_TD});
    expect_identical(one.load_E, all.load_E);
    expect_identical(one.loss, all.loss);
    for (const auto& [name, gradient] : one.gradients) {
      const auto found = all.gradients.find(name);
      if (found == all.gradients.end())
        all.gradients[name] = gradient;
      else  // a parameter that every rank has, or the rank's own experts
        found->second = gradient.sizes() == numbers.at(name).sizes()
                            ? found->second + gradient
                            : at::cat({found->second, gradient});
    }
  }
  return all;
}

class RouterRanks : public ::testing::TestWithParam<std::string> {};

TEST_P(RouterRanks, ChangeNothing) {
  const moe::test::WithThreads one_thread(1);
  if (GetParam() == "replay") GTEST_SKIP() << "replay wants a recording, see test_forced_routers";
  const auto numbers = numbers_for(GetParam());
  const Outcome expected = run(GetParam(), numbers, 1);
  for (const int64_t ranks : {2, 4}) {
    SCOPED_TRACE(testing::Message() << ranks << " ranks");
    const Outcome got = run(GetParam(), numbers, ranks);
    expect_close(got.hidden_TD, expected.hidden_TD, 1e-10);
    expect_close(got.dx_TD, expected.dx_TD, 1e-10);
    expect_identical(got.load_E, expected.load_E);
    expect_close(got.loss, expected.loss, 1e-10);
    ASSERT_EQ(got.gradients.size(), expected.gradients.size());
    for (const auto& [name, gradient] : expected.gradients)
      expect_close(got.gradients.at(name), gradient, 1e-10, name);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, RouterRanks, ::testing::ValuesIn(routing::routers().names()),
                         [](const auto& info) { return info.param; });

}  // namespace

}  // namespace moe::layers::router_ranks_test
