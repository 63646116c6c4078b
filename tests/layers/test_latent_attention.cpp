// Latent attention and its indexer without a state. T tokens, D width.
#include <tests/layers/latent_forms.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <moe/flow/key_choices.h>

namespace moe::layers::latent_attention_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::latent_forms;
using moe::test::LatentForm;
using moe::test::make_latent;
using moe::test::naive_latent_attention;
using moe::test::normal;
using moe::test::trained_of;

constexpr int64_t D = moe::test::kLatentWidth;

LayerContext of_lengths(const std::vector<int64_t>& lengths) {
  LayerContext out;
  out.tokens.sequences = Sequences::of_lengths(lengths);
  return out;
}

LatentAttention small() {
  return {.heads = 2, .q_rank = 4, .kv_rank = 5, .nope_dim = 4, .rope_dim = 2, .value_dim = 3};
}

TEST(LatentAttention, EqualsTheNaiveLoops) {
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> lengths = {9, 0, 1, 23, 9};
  const Tensor x_TD = normal({42, D}, 2);
  for (const LatentForm& form : latent_forms()) {
    SCOPED_TRACE(form.name);
    const auto mixer = make_latent(form);
    std::vector<Tensor> expected;
    int64_t begin = 0;
    for (const int64_t length : lengths) {
      if (length > 0)
        expected.push_back(
            naive_latent_attention(*mixer, form, x_TD.slice(0, begin, begin + length)).first);
      begin += length;
    }
    expect_close(mixer->forward(x_TD, of_lengths(lengths), nullptr), at::cat(expected), 1e-12);
    const Tensor one_TD = x_TD.slice(0, 0, 21);
    expect_close(mixer->forward(one_TD, {}, nullptr),
                 naive_latent_attention(*mixer, form, one_TD).first, 1e-12);
    expect_close(mixer->forward(one_TD, of_lengths({7, 7, 7}), nullptr).slice(0, 7, 14),
                 naive_latent_attention(*mixer, form, one_TD.slice(0, 7, 14)).first, 1e-12);
    EXPECT_EQ(mixer->forward(x_TD.slice(0, 0, 0), {}, nullptr).sizes(),
              (std::vector<int64_t>{0, D}));
  }
}

TEST(LatentAttention, GradientsEqualCentralDifferences) {
  for (const LatentForm& form : latent_forms())
    for (const std::vector<int64_t>& lengths :
         {std::vector<int64_t>{8, 8}, std::vector<int64_t>{5, 10, 1}}) {
      SCOPED_TRACE(form.name);
      const auto mixer = make_latent(form);
      Tensor x_TD = normal({16, D}, 3);
      auto inputs = trained_of(*mixer);
      inputs.emplace_back("x", x_TD);
      moe::test::expect_directional_gradients(
          [&] {
            return (mixer->forward(x_TD, of_lengths(lengths), nullptr) * normal({16, D}, 5)).sum();
          },
          inputs);
    }
}

TEST(LatentAttention, TheLossDoesNotTrainAnIndexer) {
  const LatentForm form = {"", small()};
  LatentForm sparse = form;
  sparse.options.indexer = {.heads = 2, .head_dim = 4, .top_k = 3};
  for (const auto& item : make_latent(sparse)->named_parameters())
    EXPECT_EQ(item.value().requires_grad(), !item.key().starts_with("indexer.")) << item.key();
}

/// With no more positions than an indexer may choose, or one that sees all, nothing is cut.
TEST(LatentAttention, AnIndexerOfManyKeysChangesNothing) {
  const at::NoGradGuard no_grad;
  LatentForm form = {"", small()};
  const auto plain = make_latent(form);
  form.options.indexer = {.heads = 2, .head_dim = 4, .top_k = 20};
  const auto sparse = make_latent(form);
  const Tensor x_TD = normal({20, D}, 3);
  expect_identical(sparse->forward(x_TD, {}, nullptr), plain->forward(x_TD, {}, nullptr));
}

TEST(LatentAttention, EqualScoresGoToTheEarlierToken) {
  const at::NoGradGuard no_grad;
  LatentForm form = {"", small()};
  form.options.indexer = {.heads = 2, .head_dim = 4, .top_k = 3};
  const auto mixer = make_latent(form);
  mixer->named_parameters()["indexer.w_weights"].zero_();
  const auto choices = std::make_shared<KeyChoices>();
  LayerContext context;
  context.key_choices = choices;
  mixer->forward(normal({5, D}, 3), context, nullptr);
  const Tensor expected =
      at::tensor({1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0})
          .view({5, 5})
          .to(at::kBool);
  EXPECT_TRUE(choices->before(1).at(0).equal(expected));
}

TEST(LatentAttention, SharesTheChoiceOfTheNearestEarlierLayer) {
  const at::NoGradGuard no_grad;
  LatentForm form = {"", small()};
  LatentForm sharing = form;
  form.options.indexer = {.heads = 2, .head_dim = 4, .top_k = 3};
  sharing.options.indexer = {.top_k = 3, .shared = true};
  const auto full = make_latent(form), shared = make_latent(sharing);
  const Tensor x_TD = normal({16, D}, 3), other_TD = normal({16, D}, 4);
  const std::vector<int64_t> lengths = {4, 12};
  for (const bool training : {false, true}) {
    LayerContext context = of_lengths(lengths);
    context.training = training;
    context.key_choices = std::make_shared<KeyChoices>();
    const auto in_layer = [&](int64_t layer, const auto& mixer, const Tensor& x) {
      context.layer = layer;
      return mixer->forward(x, context, nullptr);
    };
    in_layer(0, full, other_TD);
    in_layer(2, full, x_TD);
    const Tensor y_TD = in_layer(5, shared, other_TD);
    int64_t begin = 0;
    for (const int64_t length : lengths) {
      const auto mine = [&](const Tensor& x) { return x.slice(0, begin, begin + length); };
      const auto seen = naive_latent_attention(*full, form, mine(x_TD)).second;
      expect_close(mine(y_TD), naive_latent_attention(*shared, sharing, mine(other_TD), seen).first,
                   1e-12);
      begin += length;
    }
    if (!training) continue;
    // Recomputation runs earlier layers again in any order.
    const Tensor before_TD = in_layer(1, shared, other_TD);
    expect_identical(in_layer(1, shared, other_TD), before_TD);
    EXPECT_FALSE(before_TD.equal(y_TD));
  }
  EXPECT_ERROR(shared->forward(x_TD, {}, nullptr), "got a layer alone");
  LayerContext first;
  first.key_choices = std::make_shared<KeyChoices>();
  EXPECT_ERROR(shared->forward(x_TD, first, nullptr), "a layer before layer 0 that chooses keys");
}

TEST(LatentAttention, KeepsOnlyTheLatestChoiceOutsideOfTraining) {
  KeyChoices choices;
  choices.put(0, SeenPositions(1), false);
  choices.put(3, SeenPositions(2), false);
  EXPECT_EQ(choices.before(4).size(), 2U);
  EXPECT_ERROR(choices.before(3), "a layer before layer 3");
  choices.put(4, SeenPositions(3), true);
  EXPECT_EQ(choices.before(4).size(), 2U);
  EXPECT_EQ(choices.before(9).size(), 3U);
}

TEST(LatentAttention, ChoosesTheSameInPieces) {
  // More scores than are in memory at once: rows come in pieces.
  const at::NoGradGuard no_grad;
  LatentForm form = {"", small()};
  form.options.indexer = {.heads = 64, .head_dim = 2, .top_k = 40};
  const auto mixer = make_latent(form);
  mixer->to(at::kFloat);
  const Tensor x_TD = normal({1100, D}, 3).to(at::kFloat);
  const auto choice_of = [&](const Tensor& x) {
    LayerContext context;
    context.key_choices = std::make_shared<KeyChoices>();
    mixer->forward(x, context, nullptr);
    return context.key_choices->before(1).at(0);
  };
  const Tensor whole = choice_of(x_TD), part = choice_of(x_TD.slice(0, 0, 300));
  EXPECT_TRUE(whole.slice(0, 0, 300).slice(1, 0, 300).equal(part));
  EXPECT_EQ(whole.sum().item<int64_t>(), 40 * 41 / 2 + (1100 - 40) * 40);
}

TEST(LatentAttention, CountsWhatItCosts) {
  LatentForm form = {"", small()};
  const auto plain = make_latent(form);
  EXPECT_EQ(plain->flops_over_keys(10), 2 * 2 * (6 + 3) * 10);
  EXPECT_EQ(plain->state_numbers(10), (5 + 2) * 10);
  form.options.indexer = {.heads = 2, .head_dim = 4, .top_k = 3};
  const auto sparse = make_latent(form);
  EXPECT_EQ(sparse->flops_over_keys(10), 2 * 2 * (6 + 3) * 3 + 2 * 2 * 4 * 10);
  EXPECT_EQ(sparse->flops_over_keys(2), 2 * 2 * (6 + 3) * 2 + 2 * 2 * 4 * 2);
  EXPECT_EQ(sparse->state_numbers(10), (5 + 2 + 4) * 10);
}

TEST(LatentAttention, RefusesOptionsByName) {
  const auto refusal = [](const auto& change) {
    LatentAttention o = small();
    change(o);
    return moe::test::message_of([&] { o.validate("mixer"), o.indexer.validate("mixer.indexer"); });
  };
  EXPECT_EQ(refusal([](auto&) {}), "");
  const auto expect = [&](const std::string& part, const auto& change) {
    const auto message = refusal(change);
    EXPECT_TRUE(moe::test::contains(message, part)) << part << ": " << message;
  };
  expect("an even 'mixer.rope_dim', got 3", [](auto& o) { o.rope_dim = 3; });
  expect("'mixer.kv_rank' of at least 0", [](auto& o) { o.kv_rank = -1; });
  expect("'mixer.heads' of at least 1", [](auto& o) { o.heads = 0; });
  expect("'mixer.rope.share' of 1", [](auto& o) { o.rope.share = 0.5; });
  expect("'mixer.temperature_floor' above 0", [](auto& o) { o.temperature_scale = 1; });
  expect("'mixer.q_rank' above 0 beside an indexer", [](auto& o) {
    o.q_rank = 0;
    o.indexer = {.heads = 1, .head_dim = 4, .top_k = 1};
  });
  expect("'mixer.indexer.head_dim' of at least rope_dim = 2, got 1",
         [](auto& o) { o.indexer = {.heads = 1, .head_dim = 1, .top_k = 1}; });
  expect("'mixer.indexer.top_k' of at least 1",
         [](auto& o) { o.indexer = {.heads = 1, .head_dim = 2}; });
  expect("'mixer.indexer.shared' beside heads = 0 only",
         [](auto& o) { o.indexer = {.heads = 1, .head_dim = 2, .top_k = 1, .shared = true}; });
  expect("mixer.indexer.rope_kind to be one of", [](auto& o) { o.indexer.rope_kind = "none"; });
  LatentForm form = {"", small(), false};
  form.options.indexer = {.heads = 1, .head_dim = 2, .top_k = 1};
  EXPECT_ERROR(make_latent(form), "beside causal attention only");
}

}  // namespace

}  // namespace moe::layers::latent_attention_test
