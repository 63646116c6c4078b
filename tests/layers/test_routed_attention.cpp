// Attention with routed projections against plain loops. T tokens, D width, G key-value heads, P
// head width, K choices.
#include <algorithm>
#include <cmath>
#include <tests/layers/attention_forms.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/terms.h>
#include <moe/flow/output.h>
#include <moe/layers/block.h>
#include <moe/layers/mixers/routed_attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/routing/kinds/gshard.h>
#include <moe/routing/kinds/sigmoid.h>
#include <moe/routing/kinds/topk.h>

namespace moe::layers::routed_attention_test {

namespace {

using moe::test::context_of;
using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::normal;

constexpr int64_t D = 12;

RoutedAttention form(int64_t top_k = 2, bool bias = true) {
  RoutedAttention out;
  out.num_experts = 4;
  out.top_k = top_k;
  out.router = TopKRouter{};
  out.kv_heads = 2;
  out.head_dim = 4;
  out.rope.theta = 50;
  out.output_bias = bias;
  return out;
}

std::shared_ptr<Mixer> make(const RoutedAttention& options, bool causal = true) {
  const auto out = MixerSpec(options).make(MixerShape{.d_model = D, .causal = causal});
  moe::test::randomise(*out, 3);
  return out;
}

/// What one sequence x_TD alone gets, choice by choice and head by head.
Tensor naive(const Mixer& mixer, const RoutedAttention& o, bool causal, const Tensor& x_TD) {
  using namespace moe::test::naive_attention;
  const auto p = mixer.named_parameters();
  const int64_t T = x_TD.size(0), G = o.kv_heads, P = o.head_dim, E = o.num_experts;
  const Tensor k_TQ = at::linear(x_TD, p["w_k"]), v_TQ = at::linear(x_TD, p["w_v"]);
  Tensor out_TD = at::zeros({T, D}, at::kDouble);
  for (int64_t t = 0; t < T; ++t) {
    const Tensor logits_E = at::mv(p["router.weight"], x_TD[t]);
    std::vector<int64_t> order;
    for (int64_t e = 0; e < E; ++e) order.push_back(e);
    std::ranges::sort(order, [&](int64_t a, int64_t b) {
      return logits_E[a].item<double>() > logits_E[b].item<double>();
    });
    double total = 0;
    for (int64_t k = 0; k < o.top_k; ++k)
      total += std::exp(logits_E[order[static_cast<size_t>(k)]].item<double>());
    for (int64_t k = 0; k < o.top_k; ++k) {
      const int64_t e = order[static_cast<size_t>(k)];
      const Tensor q_Q = at::mv(p["w_q"][e], x_TD[t]);
      std::vector<Tensor> heads;
      for (int64_t g = 0; g < G; ++g) {
        const auto head = [&](const Tensor& x_Q) { return x_Q.slice(0, g * P, (g + 1) * P); };
        std::vector<Tensor> keys, values;
        std::vector<bool> sees;
        for (int64_t c = 0; c < T; ++c) {
          keys.push_back(turned(head(k_TQ[c]), o.rope, c));
          values.push_back(head(v_TQ[c]));
          sees.push_back(!causal || c <= t);
        }
        heads.push_back(
            attend_one(turned(head(q_Q), o.rope, t), keys, values, sees, Attention(), Tensor()));
      }
      out_TD[t] +=
          at::mv(p["w_o"][e], at::cat(heads)) * (std::exp(logits_E[e].item<double>()) / total);
    }
    if (o.output_bias) out_TD[t] += p["b_o"];
  }
  return out_TD;
}

TEST(RoutedAttention, IsWhatPlainLoopsGive) {
  const at::NoGradGuard no_grad;
  for (const bool causal : {true, false})
    for (const int64_t top_k : {1, 2, 3}) {
      auto options = form(top_k, /*bias=*/top_k != 1);
      if (top_k == 1) options.router = TopKRouter{.renormalise = true};
      const auto mixer = make(options, causal);
      const Tensor x_TD = normal({9, D}, 5);
      const Tensor got_TD = mixer->forward(x_TD, context_of({5, 0, 4}), nullptr);
      expect_close(got_TD.slice(0, 0, 5), naive(*mixer, options, causal, x_TD.slice(0, 0, 5)),
                   1e-12);
      expect_close(got_TD.slice(0, 5), naive(*mixer, options, causal, x_TD.slice(0, 5)), 1e-12);
    }
}

TEST(RoutedAttention, GradientsEqualCentralDifferences) {
  const auto mixer = make(form());
  Tensor x_TD = normal({6, D}, 7);
  auto tensors = moe::test::named_parameters_of(*mixer);
  tensors.emplace_back("x", x_TD);
  const Tensor weights = normal({6, D}, 8);
  moe::test::expect_directional_gradients(
      [&] {
        return (mixer->forward(x_TD, context_of({4, 2}), nullptr) * weights).sum();
      },
      tensors);
}

TEST(RoutedAttention, ASequenceGetsTheSameBitsAloneAndBesideOthers) {
  const at::NoGradGuard no_grad;
  const auto mixer = make(form());
  mixer->to(at::kFloat);
  const std::vector<Tensor> x = {normal({5, D}, 1).to(at::kFloat), normal({7, D}, 2).to(at::kFloat),
                                 normal({1, D}, 3).to(at::kFloat)};
  const auto read = [&](const std::vector<size_t>& which) {
    const auto state = mixer->new_state({.capacity = 8, .tensors = at::TensorOptions(at::kFloat)});
    state->join(static_cast<int64_t>(which.size()));
    std::vector<Tensor> out(which.size());
    for (int64_t t = 0; t < 7; ++t) {  // one token of each sequence that has one
      std::vector<int64_t> lengths, first;
      std::vector<Tensor> tokens = {x[0].slice(0, 0, 0)};
      for (const size_t n : which) {
        const bool there = t < x[n].size(0);
        lengths.push_back(there);
        first.push_back(std::min(t, x[n].size(0)));
        if (there) tokens.push_back(x[n].slice(0, t, t + 1));
      }
      LayerContext context = context_of(lengths);
      context.tokens.sequences.first_position = first;
      const Tensor y_TD = mixer->forward(at::cat(tokens), context, state.get());
      for (size_t i = 0, row = 0; i < which.size(); ++i)
        if (lengths[i] > 0) {
          const Tensor mine =
              y_TD.slice(0, static_cast<int64_t>(row), static_cast<int64_t>(row) + 1);
          out[i] = out[i].defined() ? at::cat({out[i], mine}) : mine;
          ++row;
        }
    }
    return out;
  };
  const auto together = read({0, 1, 2});
  for (const size_t n : {size_t{0}, size_t{1}, size_t{2}})
    expect_identical(read({n}).front(), together[n], concat("sequence ", n));
}

TEST(RoutedAttention, CountsTheExpertsOfATokenOnly) {
  const auto mixer = make(form());
  EXPECT_DOUBLE_EQ(mixer->active_share({.role = Role::kMatrix, .per_expert = true}), 0.5);
  EXPECT_DOUBLE_EQ(mixer->active_share({.role = Role::kScores, .per_expert = true}), 1);
  EXPECT_DOUBLE_EQ(mixer->active_share({}), 1);
  EXPECT_EQ(mixer->flops_over_keys(10), 4 * 2 * 2 * 4 * 10);
  EXPECT_EQ(mixer->state_numbers(10), 2 * 2 * 4 * 10);
}

TEST(RoutedAttention, RefusesWhatItCannotServe) {
  auto options = form();
  options.top_k = 5;
  EXPECT_ERROR(options.validate("m"), "'m.top_k' in [1, num_experts=4], got 5");
  options = form();
  options.head_dim = 0;
  options.kv_heads = 5;
  EXPECT_ERROR(make(options), "multiple of top_k · kv_heads, got 12 and 10");
  options = form();
  options.router = GShardRouter{.second = "none"};
  const auto mixer = make(options);
  EXPECT_ERROR(mixer->forward(normal({3, D}, 1), context_of({3}), nullptr),
               "every token 2 experts, got 'gshard'");
  options.router = SigmoidRouter{};
  EXPECT_ERROR(make(options), "expected a router without state");
  EXPECT_ERROR(make(form(), false)->new_state({.capacity = 4}), "expected a causal model");
}

TEST(RoutedAttention, PutsItsBalanceTermsWhereItsBlockReportsThem) {
  auto o = form();
  o.balance = {SwitchLoss{.coefficient = 0.5}, ZLoss{.coefficient = 0.1}};
  const auto mixer = make(o);
  const Tensor x_TD = normal({7, D}, 5);
  LayerContext context;
  mixer->forward(x_TD, context, nullptr);  // nobody asks
  context.mixer_terms = std::make_shared<std::vector<BalanceValue>>();
  mixer->forward(x_TD, context, nullptr);
  ASSERT_EQ(context.mixer_terms->size(), 2u);
  const auto& [name, coefficient, value, sums] = context.mixer_terms->front();
  EXPECT_EQ(name, "attention_switch");
  EXPECT_EQ(coefficient, 0.5);
  // E sum_e f_e P_e by loops.
  const Tensor logits_TE = at::linear(x_TD, mixer->named_parameters()["router.weight"]).detach();
  const Tensor p_E = at::softmax(logits_TE, 1).mean(0);
  std::vector<double> pairs(4);
  for (int64_t t = 0; t < 7; ++t) {
    std::vector<int64_t> order = {0, 1, 2, 3};
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return logits_TE[t][a].item<double>() > logits_TE[t][b].item<double>();
    });
    for (int k = 0; k < 2; ++k) pairs[static_cast<size_t>(order[static_cast<size_t>(k)])] += 1;
  }
  double expected = 0;
  for (int64_t e = 0; e < 4; ++e)
    expected += 4 * pairs[static_cast<size_t>(e)] / 14 * p_E[e].item<double>();
  EXPECT_NEAR(value.item<double>(), expected, 1e-12);
  value.backward();
  EXPECT_GT(mixer->named_parameters()["router.weight"].grad().abs().sum().item<double>(), 0);
  mixer->among(4);
  context.mixer_terms->clear();
  mixer->forward(x_TD, context, nullptr);
  EXPECT_EQ(context.mixer_terms->front().coefficient, 0.5) << "own convention";
}

TEST(RoutedAttention, ItsTermsAndThoseOfTheFeedForwardAreOneReport) {
  auto o = form();
  o.balance = {SwitchLoss{.coefficient = 0.5}};
  BlockSpec spec;
  spec.mixer = o;
  spec.feed_forward = MoELayerOptions{.num_experts = 3,
                                      .top_k = 2,
                                      .expert = {.kind = "gated", .d_ff = 4},
                                      .balance = {{"z_loss", 0.1}}};
  Block block(spec, 0, BlockShape{.d_model = D});
  moe::test::randomise(*block, 3);
  LayerContext context;
  context.training = true;
  for (const auto recompute : {Recompute::kNone, Recompute::kMoE, Recompute::kBlocks}) {
    const auto report = block->forward(normal({7, D}, 5), context, nullptr, recompute).second;
    ASSERT_TRUE(report);
    ASSERT_EQ(report->balance.terms.size(), 2u);
    EXPECT_EQ(report->balance.terms[0].name, "z_loss");
    EXPECT_EQ(report->balance.terms[1].name, "attention_switch");
    EXPECT_EQ(report->balance.load_E.size(0), 3) << "of the feed-forward";
    block->zero_grad();
    report->balance.terms[1].value.backward();
    EXPECT_TRUE(block->named_parameters()["routed_attention.router.weight"].grad().defined());
  }
  spec.feed_forward = {};
  EXPECT_ERROR(Block(spec, 0, BlockShape{.d_model = D}),
               "expected a feed_forward that routes beside a mixer with balance terms");
}

TEST(RoutedAttention, RefusesTermsAndRoutersThatNothingServesHere) {
  auto o = form();
  o.balance = {SwitchLoss{.coefficient = 0.5, .scope = "global"}};
  EXPECT_ERROR(make(o), "of scope \"global\". Set scope = \"batch\"");
  o.balance = {{"usage_variance", 0.5}};
  EXPECT_ERROR(make(o), "'usage_variance' with state between steps");
  o.balance = {{"switch", 0.5}, {"switch", 0.1}};
  EXPECT_ERROR(make(o), "got two 'switch'");
  o.balance = {};
  o.router = {.kind = "gating_residual"};
  EXPECT_ERROR(make(o), "a router that looks at its own layer alone");
}

}  // namespace

}  // namespace moe::layers::routed_attention_test
