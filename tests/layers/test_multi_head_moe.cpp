// Multi-head MoE token by token. T tokens, D width, H sub-tokens of each, P = D / H, E experts, K
// choices, F hidden.
#include <tests/reference/moe_layer.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/feed_forwards/multi_head_moe.h>
#include <moe/layers/moe_layer.h>
#include <moe/parameters/list.h>
#include <moe/routing/routers.h>

namespace moe::layers::multi_head_moe_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::normal;

constexpr int64_t T = 9, D = 12, H = 3, P = D / H, E = 4, K = 2, F = 5;

MultiHeadMoE options() {
  return {.heads = H,
          .moe = {.num_experts = E, .top_k = K, .expert = {.kind = "gated", .d_ff = F}}};
}

std::shared_ptr<FeedForward> make(const MultiHeadMoE& o, bool causal = false) {
  const FeedForwardSpec spec = o;
  auto out = moe::test::initialised(spec.make(FeedForwardShape{.d_model = D, .causal = causal}));
  moe::test::randomise(*out, 3);
  return out;
}

Tensor parameter(const FeedForward& layer, const std::string& name) {
  return layer.named_parameters()[name];
}

std::shared_ptr<MoELayerImpl> mixture_of(const FeedForward& layer) {
  return std::dynamic_pointer_cast<MoELayerImpl>(layer.named_children()["moe"]);
}

/// Cuts every token into pieces, sends each through the experts that the router gives it alone,
/// and puts them together again.
Tensor by_formula(const FeedForward& layer, const Tensor& x_TD) {
  const auto moe = mixture_of(layer);
  const Tensor u_TD = at::matmul(x_TD, parameter(layer, "w_in").t()) + parameter(layer, "b_in");
  std::vector<Tensor> rows;
  for (int64_t t = 0; t < x_TD.size(0); ++t) {
    std::vector<Tensor> pieces;
    for (int64_t h = 0; h < H; ++h) {
      const Tensor piece_1P = u_TD[t].slice(0, h * P, (h + 1) * P).unsqueeze(0);
      const Routing routing = moe->router().forward(piece_1P, {});
      pieces.push_back(
          moe::test::reference::mixture(piece_1P, routing, [&](int64_t e, const Tensor& x_P) {
            const Tensor offsets_L = at::arange(E + 1, at::kLong).gt(e).to(at::kLong);
            return moe->experts()
                .forward({x_P.unsqueeze(0), {}, offsets_L, at::zeros({1}, at::kLong)}, {})
                .squeeze(0);
          }));
    }
    rows.push_back(at::cat(pieces, 1));
  }
  return at::matmul(at::cat(rows), parameter(layer, "w_out").t()) + parameter(layer, "b_out");
}

TEST(MultiHeadMoE, SendsEverySubTokenThroughItsOwnExperts) {
  const auto layer = make(options());
  const Tensor x_TD = normal({T, D}, 1);
  const FeedForwardOutput out = layer->forward_tokens(x_TD, {});
  expect_close(out.hidden_TD, by_formula(*layer, x_TD), 1e-12);
  for (const int64_t tokens : {0, 1})
    EXPECT_EQ(layer->forward_tokens(x_TD.slice(0, 0, tokens), {}).hidden_TD.sizes(),
              (std::vector<int64_t>{tokens, D}));
}

TEST(MultiHeadMoE, GradientsAgreeWithCentralDifferences) {
  MultiHeadMoE o = options();
  o.moe.balance = {{"switch", 0.1}, {"z_loss", 0.1}};
  const auto layer = make(o);
  Tensor x_TD = normal({T, D}, 1);
  std::vector<std::pair<std::string, Tensor>> tensors = {{"x", x_TD}};
  for (const auto& item : layer->named_parameters()) tensors.emplace_back(item.key(), item.value());
  const Tensor numbers_TD = normal({T, D}, 5);
  moe::test::expect_directional_gradients(
      [&] {
        const FeedForwardOutput out = layer->forward_tokens(x_TD, {});
        return (out.hidden_TD * numbers_TD).sum() + out.balance.loss();
      },
      tensors);
}

TEST(MultiHeadMoE, ReportsLoadOfSubTokensAndTheRoutingOfTokens) {
  MultiHeadMoE o = options();
  o.moe.capacity.eval_factor = 0.7;
  const auto layer = make(o);
  LayerContext context;
  context.tokens.first_token = 40;
  const FeedForwardOutput out = layer->forward_tokens(normal({T, D}, 1), context);
  EXPECT_EQ(out.balance.tokens.item<double>(), T * H);
  EXPECT_EQ(out.balance.load_E.sum().item<double>(), T * H * K);
  const double dropped = out.balance.dropped.item<double>();
  EXPECT_GT(dropped, 0);
  EXPECT_EQ(out.routing.tokens(), T);
  EXPECT_EQ(out.routing.first_token, 40);
  EXPECT_EQ(out.routing.choices, H * K);
  EXPECT_EQ(out.routing.dropped().item<double>(), dropped);
  EXPECT_EQ(out.routing.counts_E().sum().item<double>(), T * H * K - dropped);
  EXPECT_EQ(out.routing.offsets[1].item<int64_t>(), H * K);
  EXPECT_TRUE(layer->routes());
  EXPECT_EQ(layer->mixture(), mixture_of(*layer).get());
}

TEST(MultiHeadMoE, OfARaggedRoutingTellsTokensApart) {
  MultiHeadMoE o = options();
  o.moe.router = TopPRouter{.p = 0.5};
  const auto layer = make(o);
  const Routing routing = layer->forward_tokens(normal({T, D}, 1), {}).routing;
  EXPECT_EQ(routing.choices, 0);
  ASSERT_EQ(routing.tokens(), T);
  EXPECT_EQ(routing.offsets[-1].item<int64_t>(), routing.pairs());
  EXPECT_TRUE(routing.offsets.diff().ge(H).all().item<bool>());
}

TEST(MultiHeadMoE, GivesATokenWhatItGetsAlone) {
  MultiHeadMoE o = options();
  o.moe.router = NoisyTopKRouter{};
  o.moe.capacity = {.factor = 0.9};
  const auto layer = make(o);
  const Tensor x_TD = normal({T, D}, 1);
  LayerContext context;
  context.training = true;
  context.random = {.seed = 4};
  context.tokens.first_token = 7;
  context.tokens.sequences = Sequences::of_lengths({2, 3, 4});
  const Tensor whole_TD = layer->forward_tokens(x_TD, context).hidden_TD;
  int64_t begin = 0;
  for (const int64_t length : {2, 3, 4}) {
    LayerContext alone = context;
    alone.tokens.first_token += begin;
    alone.tokens.sequences = Sequences::equal(1, length);
    expect_close(layer->forward_tokens(x_TD.slice(0, begin, begin + length), alone).hidden_TD,
                 whole_TD.slice(0, begin, begin + length), 1e-12);
    begin += length;
  }
}

TEST(MultiHeadMoE, TellsSubTokensTheIdAndDomainOfTheirToken) {
  MultiHeadMoE o = options();
  o.moe.router = HashRouter{};
  const auto by_id = make(o);
  const Tensor x_TD = normal({T, D}, 1);
  LayerContext context;
  context.tokens.ids_T = at::arange(T, at::kLong).remainder(2);
  const Routing hashed = by_id->forward_tokens(x_TD, context).routing;
  const Tensor experts_THK = hashed.experts_N.view({T, H, K});
  EXPECT_TRUE(at::equal(experts_THK, experts_THK.slice(1, 0, 1).expand({T, H, K})));
  EXPECT_TRUE(at::equal(experts_THK[0], experts_THK[2]));

  o.moe.router = CrossModalRouter{.modalities = 2, .allowed = {"0-1", "2-3"}};
  const auto by_domain = make(o);
  context.tokens.domains_T = at::arange(T, at::kLong).remainder(2);
  context.tokens.num_domains = 2;
  const Routing modal = by_domain->forward_tokens(x_TD, context).routing;
  EXPECT_TRUE(at::equal(at::floor_divide(modal.experts_N.view({T, H * K}), 2),
                        context.tokens.domains_T.unsqueeze(1).expand({T, H * K})));
}

TEST(MultiHeadMoE, WritesOnWithTheStateOfItsMixture) {
  MultiHeadMoE o = options();
  EXPECT_EQ(make(o, /*causal=*/true)->new_state({}), nullptr);
  o.moe.capacity = {.eval_factor = 0.5, .order = "token"};
  const auto layer = make(o, /*causal=*/true);
  const Tensor x_TD = normal({T, D}, 1);
  LayerContext context;
  context.causal = true;
  context.context_length = T;
  context.tokens.sequences = Sequences::equal(1, T);
  const FeedForwardOutput whole = layer->forward_tokens(x_TD, context);
  EXPECT_GT(whole.balance.dropped.item<double>(), 0);
  const auto state = layer->new_state({});
  state->join(1);
  for (int64_t t = 0; t < T; ++t) {
    LayerContext next = context;
    next.tokens.sequences = Sequences::equal(1, 1);
    next.tokens.sequences.first_position = {t};
    next.tokens.first_token = t;
    expect_close(layer->forward_tokens(x_TD.slice(0, t, t + 1), next, state.get()).hidden_TD,
                 whole.hidden_TD.slice(0, t, t + 1), 1e-12);
  }
}

TEST(MultiHeadMoE, CountsParametersAndMultiplicationsOfAllSubTokens) {
  const auto layer = make(options());
  int64_t numbers = 0;
  double active = 0;
  for (const auto& [name, tensor, info] : parameters_of(*layer)) {
    numbers += tensor.numel();
    active += static_cast<double>(tensor.numel()) * layer->active_share(info);
  }
  const int64_t around = 2 * (D * D + D), router = E * P, expert = 3 * P * F;
  EXPECT_EQ(numbers, around + router + E * expert);
  EXPECT_EQ(active, around + router + E * expert);  // H K = 6 choices may be all E = 4 experts
  EXPECT_EQ(layer->flops_per_token(), 4 * D * D + H * 2 * (router + K * expert));
  MultiHeadMoE one = options();
  one.moe.top_k = 1;
  EXPECT_EQ(make(one)->active_share({.part = Part::kExperts, .per_expert = true}), 0.75);
}

TEST(MultiHeadMoE, HonoursABudget) {
  const auto layer = make(options());
  LayerContext half;
  half.budget = 0.5;
  const FeedForwardOutput out = layer->forward_tokens(normal({T, D}, 1), half);
  EXPECT_EQ(out.routing.choices, H);
  EXPECT_EQ(out.balance.load_E.sum().item<double>(), T * H);
}

TEST(MultiHeadMoE, HandsStepsAndChoicesOnToItsMixture) {
  MultiHeadMoE o = options();
  o.moe.router = SigmoidRouter{.bias_rate = 0.5};
  const auto layer = make(o);
  layer->end_step({.counts_E = at::arange(E, at::kLong), .step = 0});
  EXPECT_GT(layer->named_buffers()["moe.router.selection_bias"].abs().sum().item<double>(), 0);
  const FeedForwardSpec spec = options();
  const auto unfilled =
      spec.make(FeedForwardShape{.d_model = D, .tensors = at::TensorOptions(at::kMeta)});
  unfilled->use_top_k(3);
  EXPECT_EQ(unfilled->mixture()->options().top_k, 3);
}

TEST(MultiHeadMoE, RefusesWidthsThatDoNotFit) {
  MultiHeadMoE o = options();
  o.heads = 5;
  EXPECT_ERROR(make(o), "expected d_model to be a multiple of heads=5, got 12");
  o.heads = 0;
  EXPECT_ERROR(make(o), "heads' of at least 1 and at most 2147483647, got 0");
  o = options();
  o.moe.d_model = 12;
  EXPECT_ERROR(make(o), "expected moe.d_model = d_model / heads = 4, got 12. Leave it out.");
  EXPECT_ERROR(make(options())->forward_tokens(normal({2, 5}, 1), {}),
               "expected x of shape (T, D=12)");
}

}  // namespace

}  // namespace moe::layers::multi_head_moe_test
