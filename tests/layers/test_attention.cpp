// Attention against plain loops. T tokens, D width, N sequences.
#include <tests/layers/attention_forms.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <moe/parameters/list.h>

namespace moe::layers::attention_test {

namespace {

using moe::test::attention_forms;
using moe::test::AttentionForm;
using moe::test::context_of;
using moe::test::expect_close;
using moe::test::expect_directional_gradients;
using moe::test::expect_identical;
using moe::test::for_each_sequence;
using moe::test::gradients_of;
using moe::test::make_attention;
using moe::test::naive_attention_of;
using moe::test::named_parameters_of;
using moe::test::normal;

constexpr int64_t D = moe::test::kAttentionWidth;

/// Equal; ragged, with an empty one and one of a single token; one sequence.
const std::vector<std::vector<int64_t>> kBatches = {{5, 5}, {3, 0, 7, 1, 6, 2}, {9}, {0, 4}, {1}};

int64_t sum_of(const std::vector<int64_t>& lengths) {
  int64_t out = 0;
  for (const int64_t length : lengths) out += length;
  return out;
}

TEST(Attention, EverySequenceGetsWhatTheNaiveLoopsGiveItAlone) {
  const at::NoGradGuard no_grad;
  for (const AttentionForm& form : attention_forms())
    for (const auto& lengths : kBatches) {
      SCOPED_TRACE(concat(form.name, ", ", lengths.size(), " sequences"));
      const auto attention = make_attention(form);
      const Tensor x_TD = normal({sum_of(lengths), D}, 2);
      const Tensor y_TD = attention->forward(x_TD, context_of(lengths), nullptr);
      ASSERT_EQ(y_TD.sizes(), x_TD.sizes());
      for_each_sequence(lengths, [&](int64_t begin, int64_t end) {
        expect_close(y_TD.slice(0, begin, end),
                     naive_attention_of(*attention, form, x_TD.slice(0, begin, end)), 1e-12);
      });
    }
}

TEST(Attention, TokensWithoutASequenceAreOne) {
  const at::NoGradGuard no_grad;
  const auto attention = make_attention({"", {.heads = 3}});
  const Tensor x_TD = normal({6, D}, 2);
  expect_identical(attention->forward(x_TD, {}, nullptr),
                   attention->forward(x_TD, context_of({6}), nullptr));
}

TEST(Attention, RowsOfPackedDocumentsDoNotMatter) {
  const at::NoGradGuard no_grad;
  const auto attention = make_attention({"", {.heads = 3}});
  const Tensor x_TD = normal({8, D}, 2);
  LayerContext context = context_of({3, 1, 4});
  const Tensor y_TD = attention->forward(x_TD, context, nullptr);
  context.tokens.sequences.packed_rows = Runs::equal(2, 4);
  expect_identical(attention->forward(x_TD, context, nullptr), y_TD);
}

TEST(Attention, GradientsEqualCentralDifferences) {
  const moe::test::WithThreads one_thread(1);
  for (const AttentionForm& given : attention_forms())
    for (const double dropout : {0.0, 0.3})
      for (const auto& lengths : {std::vector<int64_t>{3, 3}, {2, 0, 4, 1, 3}}) {
        SCOPED_TRACE(concat(given.name, ", dropout ", dropout, ", ", lengths.size(), " sequences"));
        AttentionForm form = given;
        form.options.dropout = dropout;
        const auto attention = make_attention(form);
        LayerContext context = context_of(lengths);
        context.training = true;
        const Tensor x_TD = normal({sum_of(lengths), D}, 2);
        const Tensor coefficient_TD = normal(x_TD.sizes(), 5);
        auto inputs = named_parameters_of(*attention);
        inputs.emplace_back("x", x_TD);
        expect_directional_gradients(
            [&] { return (attention->forward(x_TD, context, nullptr) * coefficient_TD).sum(); },
            inputs);
      }
}

/// Output and gradients of sum(y · upstream), of all sequences at once or one by one.
std::map<std::string, Tensor> pass(const AttentionForm& form, const std::vector<int64_t>& lengths,
                                   LayerContext context, at::ScalarType type, bool together) {
  const auto attention = make_attention(form);
  attention->to(type);
  const int64_t T = sum_of(lengths);
  const Tensor x_TD = normal({T, D}, 2).to(type).requires_grad_(true);
  const Tensor upstream_TD = normal({T, D}, 3).to(type);
  Tensor y_TD;
  if (together) {
    context.tokens.sequences = Sequences::of_lengths(lengths);
    y_TD = attention->forward(x_TD, context, nullptr);
  } else {
    std::vector<Tensor> parts;
    for_each_sequence(lengths, [&](int64_t begin, int64_t end) {
      LayerContext alone = context;
      alone.tokens.sequences = Sequences::equal(1, end - begin);
      alone.tokens.first_token = context.tokens.first_token + begin;
      parts.push_back(attention->forward(x_TD.slice(0, begin, end), alone, nullptr));
    });
    y_TD = at::cat(parts, 0);
  }
  (y_TD * upstream_TD).sum().backward();
  auto out = gradients_of(*attention);
  out["y"] = y_TD.detach();
  out["x"] = x_TD.grad();
  return out;
}

TEST(Attention, RaggedSequencesGetWhatEachGetsAlone) {
  for (const AttentionForm& form : attention_forms())
    for (const double dropout : {0.0, 0.4})
      for (const auto& [type, bound] :
           {std::pair{at::kDouble, 1e-12}, std::pair{at::kFloat, 3e-5}}) {
        SCOPED_TRACE(concat(form.name, ", dropout ", dropout, ", ", type));
        AttentionForm dropping = form;
        dropping.options.dropout = dropout;
        LayerContext context;
        context.training = true;
        context.tokens.first_token = 100;
        const std::vector<int64_t> lengths = {2, 70, 1, 0, 7, 5, 65, 6};
        const auto together = pass(dropping, lengths, context, type, true);
        for (const auto& [name, alone] : pass(dropping, lengths, context, type, false))
          expect_close(together.at(name), alone, bound, name);
      }
}

TEST(Attention, DropoutFollowsTheTokensNumber) {
  const at::NoGradGuard no_grad;
  const AttentionForm form = {"", {.heads = 3, .kv_heads = 1, .dropout = 0.4}};
  const auto attention = make_attention(form);
  const Tensor x_TD = normal({10, D}, 2);
  LayerContext context = context_of({5, 5});
  context.training = true;
  context.random = {.seed = 7, .step = 3};
  const Tensor y_TD = attention->forward(x_TD, context, nullptr);
  expect_identical(attention->forward(x_TD, context, nullptr), y_TD);

  LayerContext second = context_of({5});  // alone, as another rank would have it
  second.training = true;
  second.random = context.random;
  second.tokens.first_token = 5;
  expect_close(attention->forward(x_TD.slice(0, 5), second, nullptr), y_TD.slice(0, 5), 1e-14);
  second.tokens.first_token = 6;
  EXPECT_FALSE(attention->forward(x_TD.slice(0, 5), second, nullptr).equal(y_TD.slice(0, 5)));
  LayerContext later = context;
  later.random.step = 4;
  EXPECT_FALSE(attention->forward(x_TD, later, nullptr).equal(y_TD));
  context.training = false;
  expect_close(attention->forward(x_TD.slice(0, 5), second = context_of({5}), nullptr),
               naive_attention_of(*attention, form, x_TD.slice(0, 5)), 1e-12);
}

TEST(Attention, DropoutZeroesItsShareAndKeepsTheMean) {
  const at::NoGradGuard no_grad;
  // Equal keys and values of one: without dropout every result is the sum of the weights, 1.
  const auto attention = MixerSpec(Attention{.heads = 1, .dropout = 0.25})
                             .make(MixerShape{.d_model = 2, .causal = false});
  for (auto& item : attention->named_parameters())
    item.value().fill_(item.key() == "w_v" ? 0.5 : 0);
  attention->named_parameters()["w_o"].copy_(at::tensor({1.0, 0.0, 0.0, 1.0}).view({2, 2}));
  LayerContext context;
  context.training = true;
  const Tensor y_TD = attention->forward(at::ones({400, 2}), context, nullptr);
  EXPECT_NEAR(y_TD.mean().item<double>(), 1, 0.01);
  // 400 weights of 1/400, each kept with 3/4: a standard deviation of sqrt(1/3/400).
  EXPECT_NEAR(y_TD.select(1, 0).std().item<double>(), std::sqrt(1 / 1200.0), 0.006);
}

TEST(Attention, AlmostNoDropoutIsAlmostTheFusedProduct) {
  const at::NoGradGuard no_grad;
  const Tensor x_TD = normal({12, D}, 2);
  LayerContext context = context_of({5, 7});
  context.training = true;
  for (AttentionForm form : attention_forms()) {
    SCOPED_TRACE(form.name);
    const Tensor plain_TD = make_attention(form)->forward(x_TD, context, nullptr);
    form.options.dropout = 1e-9;
    expect_close(make_attention(form)->forward(x_TD, context, nullptr), plain_TD, 1e-7);
  }
}

TEST(Attention, Bfloat16IsCloseToFloat32) {
  const at::NoGradGuard no_grad;
  for (const AttentionForm& form : attention_forms())
    for (const auto& lengths : {std::vector<int64_t>{5, 5}, {2, 3, 5}}) {
      SCOPED_TRACE(form.name);
      const Tensor x_TD = normal({10, D}, 2).to(at::kFloat);
      const auto attention = make_attention(form);
      attention->to(at::kFloat);
      LayerContext context = context_of(lengths);
      const Tensor y_TD = attention->forward(x_TD, context, nullptr);
      EXPECT_EQ(y_TD.scalar_type(), at::kFloat);
      context.compute = at::kBFloat16;
      const Tensor narrow_TD = attention->forward(x_TD, context, nullptr);
      EXPECT_EQ(narrow_TD.scalar_type(), at::kBFloat16);
      const double scale = y_TD.abs().max().item<double>();
      expect_close(narrow_TD.to(at::kFloat) / scale, y_TD / scale, 0.03);
    }
}

TEST(Attention, SequencesTurnByTheirOwnLength) {
  const at::NoGradGuard no_grad;
  AttentionForm form = {"longrope", {.heads = 3}};
  form.options.rope.scaling = "longrope";
  form.options.rope.original_length = 4;
  form.options.rope.short_factors = {1, 1.5};
  form.options.rope.long_factors = {3, 2};
  form.options.rope.short_mscale = 1.1;
  form.options.rope.long_mscale = 1.4;
  const auto attention = make_attention(form);
  const std::vector<int64_t> lengths = {3, 9, 0, 4, 5};
  const Tensor x_TD = normal({sum_of(lengths), D}, 2);
  const Tensor y_TD = attention->forward(x_TD, context_of(lengths), nullptr);
  for_each_sequence(lengths, [&](int64_t begin, int64_t end) {
    expect_close(y_TD.slice(0, begin, end),
                 attention->forward(x_TD.slice(0, begin, end), {}, nullptr), 1e-12);
  });
  // Beyond the original length the first positions turn otherwise too.
  const Tensor brief = attention->forward(x_TD.slice(0, 3, 7), {}, nullptr);
  EXPECT_GT((brief - y_TD.slice(0, 3, 7)).abs().max().item<double>(), 1e-3);
}

TEST(Attention, LongSequencesArePassedInPiecesWithoutGradients) {
  const moe::test::WithThreads one_thread(1);
  for (const auto& [T, form] :
       {std::pair<int64_t, AttentionForm>{4200, {"window", {.heads = 1, .window = 100}}},
        {4200, {"sinks", {.heads = 1, .sinks = true}}},
        {2400, {"softcap", {.heads = 3, .window = 700, .softcap = 0.8, .sinks = true}}}}) {
    SCOPED_TRACE(form.name);
    const auto attention = make_attention(form);
    const Tensor x_TD = normal({T, D}, 2);
    const Tensor whole_TD = attention->forward(x_TD, {}, nullptr).detach();
    const at::NoGradGuard no_grad;
    expect_close(attention->forward(x_TD, {}, nullptr), whole_TD, 1e-12);
  }
}

/// Training in bfloat16 takes another path (every weight in memory) than inference.
TEST(Attention, Bfloat16GradientsAreCloseToFloat32) {
  for (const AttentionForm& form : attention_forms())
    for (const auto& lengths : {std::vector<int64_t>{5, 5}, {2, 3, 5}}) {
      if (form.options.clip > 0) continue;  // another number is cut off, and its gradient is gone
      SCOPED_TRACE(form.name);
      const auto gradients = [&](at::ScalarType compute) {
        const auto attention = make_attention(form);
        attention->to(at::kFloat);
        LayerContext context = context_of(lengths);
        context.compute = compute;
        const Tensor x_TD = normal({10, D}, 2).to(at::kFloat).requires_grad_(true);
        const Tensor upstream_TD = normal({10, D}, 3);
        (attention->forward(x_TD, context, nullptr).to(at::kFloat) * upstream_TD).sum().backward();
        auto out = gradients_of(*attention);
        out["x"] = x_TD.grad();
        return out;
      };
      const auto narrow = gradients(at::kBFloat16);
      for (const auto& [name, wide] : gradients(at::kFloat)) {
        const double scale = wide.abs().max().item<double>() + 1e-3;
        expect_close(narrow.at(name).to(at::kDouble) / scale, wide.to(at::kDouble) / scale,
                     name == "sinks" ? 0.06 : 0.04, name);
      }
    }
}

TEST(Attention, TakesNoTokensAndEmptySequences) {
  for (const auto& lengths : {std::vector<int64_t>{}, {0}, {0, 0, 0}}) {
    const auto attention = make_attention({"", {.heads = 3, .kv_heads = 1, .qk_norm = "head"}});
    const Tensor y_TD =
        attention->forward(at::zeros({0, D}, at::kDouble), context_of(lengths), nullptr);
    EXPECT_EQ(y_TD.sizes(), (std::vector<int64_t>{0, D}));
    y_TD.sum().backward();
    for (const Tensor& parameter : attention->parameters()) {
      ASSERT_TRUE(parameter.grad().defined());
      EXPECT_TRUE(parameter.grad().eq(0).all().item<bool>());
    }
  }
}

TEST(Attention, AWindowAsLongAsTheSequenceHidesNothing) {
  const at::NoGradGuard no_grad;
  const Tensor x_TD = normal({12, D}, 2);
  const auto run = [&](int64_t window) {
    return make_attention({"", {.heads = 3, .window = window}})
        ->forward(x_TD, context_of({5, 7}), nullptr);
  };
  expect_identical(run(7), run(0));
  EXPECT_FALSE(run(6).equal(run(0)));
  expect_identical(run(6).slice(0, 0, 5), run(0).slice(0, 0, 5));
}

TEST(Attention, ParametersSayWhatTheyAre) {
  const auto attention = make_attention(
      {"", {.heads = 3, .bias = true, .output_bias = true, .qk_norm = "head"}, true, "layernorm"});
  std::vector<std::string> names;
  for (const auto& [name, tensor, info] : parameters_of(*attention)) {
    names.push_back(name);
    EXPECT_EQ(info.residual, name == "w_o") << name;
    EXPECT_EQ(info.role, name.starts_with("w_")     ? Role::kMatrix
                         : name.ends_with(".scale") ? Role::kScale
                                                    : Role::kBias)
        << name;
  }
  EXPECT_EQ(join(names),
            "w_q, w_k, w_v, w_o, b_q, b_k, b_v, b_o, q_norm.scale, q_norm.bias, k_norm.scale, "
            "k_norm.bias");
}

TEST(Attention, CanExistUnfilled) {
  const auto unfilled =
      MixerSpec(Attention{.heads = 1 << 13, .kv_heads = 64, .window = 4096})
          .make(MixerShape{.d_model = 1 << 20, .tensors = at::TensorOptions(at::kMeta)});
  EXPECT_TRUE(unfilled->parameters().front().is_meta());
  EXPECT_EQ(unfilled->state_numbers(10), 2 * 64 * 128 * 10);
  EXPECT_EQ(unfilled->state_numbers(1 << 20), 2 * 64 * 128 * (4096 + 15));
  EXPECT_EQ(unfilled->flops_over_keys(100), int64_t{4} * 8192 * 128 * 100);
  EXPECT_EQ(unfilled->flops_over_keys(1 << 20), int64_t{4} * 8192 * 128 * 4096);
}

TEST(Attention, IsAKindOfMixer) {
  const MixerSpec spec = Attention{.heads = 3, .rope = {.theta = 50}, .window = 9};
  EXPECT_EQ(spec.kind, "attention");
  const auto made = spec.make(MixerShape{.d_model = D});
  EXPECT_EQ(parameters_of(*made).size(), 4u);
  MixerSpec resolved = spec;
  resolved.resolve();
  EXPECT_EQ(*resolved.options.find("kv_heads")->as<int64_t>(), 3);
  MixerSpec misspelt = {.kind = "attention", .options = {}};
  misspelt.options.set("head", int64_t{3});
  EXPECT_ERROR(misspelt.validate("block.mixer"), "Did you mean 'heads'");
  MixerSpec wrong = Attention{.heads = 3, .rope = {.theta = -1}};
  EXPECT_ERROR(wrong.validate("block.mixer"), "expected 'block.mixer.rope.theta' above 0, got -1");
}

TEST(Attention, RefusesWhatDoesNotFit) {
  const auto make = [](const Attention& options) { make_attention({"", options}); };
  EXPECT_ERROR(make({.heads = 3, .kv_heads = 2}), "multiple of kv_heads, got 3 and 2");
  EXPECT_ERROR(make({.heads = 4}), "even head width to turn, got 3");
  EXPECT_ERROR(make({.heads = 3, .rope = {.share = 0.8}}), "got 3 of 4");
  EXPECT_ERROR(make({.heads = 3, .rope = {.share = 0.1}}), "got none of 4");
  EXPECT_ERROR(make({.heads = 3, .window = 3, .chunk = 4}), "or chunk, got both");
  EXPECT_ERROR(make({.heads = 3, .value_dim = 3, .shared_key_value = true}), "value_dim");
  EXPECT_ERROR(make({.heads = 3, .temperature_scale = 1}), "'temperature_floor' above 0");
  EXPECT_ERROR(make({.heads = 3, .qk_norm_position = "behind"}), "qk_norm_position");
  EXPECT_ERROR(make({.heads = 3, .softcap = -1}), "softcap' of at least 0, got -1");
  EXPECT_ERROR(make_attention({"", {.heads = 3, .chunk = 2}, false}), "causal attention only");
  EXPECT_ERROR(make({.heads = 5}), "d_model to be a multiple of heads");
  EXPECT_ERROR(make({.heads = 0}), "got 0");
  EXPECT_ERROR(make({.heads = 3, .qk_norm = "heads"}), "Did you mean 'head'");
  EXPECT_ERROR(make({.heads = 3, .rope = {.kind = "half"}}),
               "one of halves, interleaved, none, got 'half'");
  EXPECT_ERROR(make({.heads = 3, .rope = {.theta = 0}}), "theta' above 0");
  EXPECT_ERROR(make({.heads = 3, .rope = {.share = 1.5}}), "share' in (0, 1]");
  EXPECT_ERROR(make({.heads = 3, .window = -1}), "window' of at least 0, got -1");
  EXPECT_ERROR(make({.heads = 3, .dropout = 1}), "dropout' in [0, 1)");
  EXPECT_ERROR(make_attention({"", {.heads = 3, .window = 4}, false}),
               "beside causal attention only");
  EXPECT_ERROR(make_attention({"", {.heads = 3, .qk_norm = "head"}, true, "batchnorm"}), "rmsnorm");
  const auto attention = make_attention({"", {.heads = 3}});
  EXPECT_ERROR(attention->forward(normal({4, D}, 1), context_of({3}), nullptr),
               "sequences of the call's 4 tokens, got 3");
}

}  // namespace

}  // namespace moe::layers::attention_test
