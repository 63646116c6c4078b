// Attention against plain loops. B batch, S sequence, D width, H query heads, G key-value heads,
// P head width, C keys.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/layers/attention.h>
#include <moe/ops/norm.h>
#include <moe/ops/rope.h>

namespace moe::layers::attention_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_directional_gradients;
using moe::test::expect_identical;
using moe::test::named_parameters_of;
using moe::test::normal;
using moe::test::randomise;

constexpr int64_t B = 2, S = 5, D = 12;

Attention make(AttentionOptions options) {
  options.d_model = D;
  Attention attention(options);
  randomise(*attention, 1);
  return attention;
}

/// The forms that differ in how heads share keys, and what else changes the product.
std::vector<std::pair<std::string, AttentionOptions>> forms() {
  return {{"multi-head", {.heads = 3}},
          {"grouped-query", {.heads = 6, .kv_heads = 2}},
          {"multi-query", {.heads = 3, .kv_heads = 1}},
          {"wide heads and biases", {.heads = 2, .head_dim = 8, .bias = true}},
          {"qk_norm", {.heads = 6, .kv_heads = 3, .qk_norm = true, .rope_theta = 50}},
          {"bidirectional", {.heads = 3, .causal = false}},
          {"bidirectional layernorm",
           {.heads = 3, .qk_norm = true, .causal = false, .norm = "layernorm"}}};
}

/// softmax(q k^T / sqrt(P)) v for one query, number by number, over the keys it may see.
std::vector<double> attend_one(const Tensor& q_P, const Tensor& k_CP, const Tensor& v_CP,
                               const std::vector<bool>& sees_C) {
  const int64_t C = k_CP.size(0), P = k_CP.size(1);
  std::vector<double> out(static_cast<size_t>(P), 0);
  double total = 0;
  for (int64_t c = 0; c < C; ++c) {
    if (!sees_C[static_cast<size_t>(c)]) continue;
    double score = 0;
    for (int64_t p = 0; p < P; ++p) score += q_P[p].item<double>() * k_CP[c][p].item<double>();
    const double weight = std::exp(score / std::sqrt(static_cast<double>(P)));
    total += weight;
    for (int64_t p = 0; p < P; ++p)
      out[static_cast<size_t>(p)] += weight * v_CP[c][p].item<double>();
  }
  for (double& value : out) value /= total;
  return out;
}

/// The whole block in float64; rows of padding are left zero before the output matrix.
Tensor naive(const AttentionImpl& module, const AttentionOptions& o, const Tensor& x_BSD,
             const Tensor& valid_BS) {
  const auto p = module.named_parameters();
  const auto bias = [&](const char* name) { return o.bias ? p[name] : Tensor(); };
  const int64_t H = o.heads, G = o.kv_heads > 0 ? o.kv_heads : H;
  const int64_t P = o.head_dim > 0 ? o.head_dim : D / H;
  const auto project = [&](const char* w, const char* b, int64_t heads) {
    return at::linear(x_BSD, p[w], bias(b)).view({B, S, heads, P});
  };
  const auto normalise = [&](const Tensor& x, const std::string& name) {
    if (!o.qk_norm) return x;
    const Tensor scale_P = p[name + ".scale"];
    if (o.norm == "rmsnorm")
      return x / (x.square().mean(-1, true) + o.norm_epsilon).sqrt() * scale_P;
    const Tensor centred = x - x.mean(-1, true);
    return centred / (centred.square().mean(-1, true) + o.norm_epsilon).sqrt() * scale_P +
           p[name + ".bias"];
  };
  const Tensor q = ops::rope(normalise(project("w_q", "b_q", H), "q_norm"), 0, o.rope_theta);
  const Tensor k = ops::rope(normalise(project("w_k", "b_k", G), "k_norm"), 0, o.rope_theta);
  const Tensor v = project("w_v", "b_v", G);
  Tensor heads_BSHP = at::zeros({B, S, H, P}, at::kDouble);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t s = 0; s < S; ++s)
      for (int64_t h = 0; h < H; ++h) {
        const auto valid = [&](int64_t c) {
          return !valid_BS.defined() || valid_BS[b][c].item<bool>();
        };
        if (!valid(s)) continue;
        std::vector<bool> sees;
        for (int64_t c = 0; c < S; ++c) sees.push_back(valid(c) && (!o.causal || c <= s));
        const int64_t g = h / (H / G);
        heads_BSHP[b][s][h] = at::tensor(
            attend_one(q[b][s][h], k[b].select(1, g), v[b].select(1, g), sees), at::kDouble);
      }
  return at::linear(heads_BSHP.view({B, S, H * P}), p["w_o"], bias("b_o"));
}

TEST(Attention, EqualsTheNaiveLoops) {
  const at::NoGradGuard no_grad;
  const Tensor x_BSD = normal({B, S, D}, 2);
  for (const auto& [name, options] : forms()) {
    SCOPED_TRACE(name);
    auto attention = make(options);
    expect_close(attention(x_BSD, Tensor(), RoutingContext(), nullptr),
                 naive(*attention, options, x_BSD, {}), 1e-12);
  }
}

TEST(Attention, PaddingIsSeenByNobodyAndStaysFinite) {
  const at::NoGradGuard no_grad;
  const Tensor x_BSD = normal({B, S, D}, 2);
  const Tensor valid_BS =
      at::tensor({1, 1, 1, 0, 0, 0, 1, 1, 0, 1}, at::kLong).view({B, S}).to(at::kBool);
  for (const auto& [name, options] : forms()) {
    SCOPED_TRACE(name);
    auto attention = make(options);
    const Tensor y_BSD = attention(x_BSD, valid_BS, RoutingContext(), nullptr);
    EXPECT_TRUE(y_BSD.isfinite().all().item<bool>());
    const Tensor real_BS1 = valid_BS.unsqueeze(2);
    expect_close(y_BSD * real_BS1, naive(*attention, options, x_BSD, valid_BS) * real_BS1, 1e-12);
  }
}

TEST(Attention, GradientsEqualCentralDifferences) {
  const moe::test::WithThreads one_thread(1);
  const Tensor valid_BS = at::tensor({1, 1, 0, 1, 1, 1}, at::kLong).view({2, 3}).to(at::kBool);
  for (const auto& [name, options] : forms())
    for (const double dropout : {0.0, 0.3})
      for (const Tensor& valid : {valid_BS, Tensor()}) {
        SCOPED_TRACE(concat(name, ", dropout ", dropout, valid.defined() ? ", padding" : ""));
        AttentionOptions o = options;
        o.dropout = dropout;
        auto attention = make(o);
        RoutingContext context;
        context.training = true;
        const Tensor x_BSD = normal({2, 3, D}, 2), coefficient_BSD = normal({2, 3, D}, 5);
        auto inputs = named_parameters_of(*attention);
        inputs.emplace_back("x", x_BSD);
        expect_directional_gradients(
            [&] { return (attention(x_BSD, valid, context, nullptr) * coefficient_BSD).sum(); },
            inputs);
      }
}

TEST(Attention, PrefillAndStepsWithACacheEqualOneCall) {
  const at::NoGradGuard no_grad;
  const Tensor x_BSD = normal({B, S, D}, 2);
  for (const auto& [name, options] : forms()) {
    if (!options.causal) continue;
    SCOPED_TRACE(name);
    auto attention = make(options);
    const Tensor whole_BSD = attention(x_BSD, Tensor(), RoutingContext(), nullptr);
    for (const std::vector<int64_t>& cuts :
         {std::vector<int64_t>{0, 3, 4, 5}, {0, 1, 2, 5}, {0, 5}}) {
      const std::vector<int64_t> shape = {B, S, attention->kv_heads(), attention->head_dim()};
      KeyValueCache cache = {at::zeros(shape, at::kDouble), at::zeros(shape, at::kDouble)};
      std::vector<Tensor> parts;
      for (size_t i = 0; i + 1 < cuts.size(); ++i)
        parts.push_back(
            attention(x_BSD.slice(1, cuts[i], cuts[i + 1]), Tensor(), RoutingContext(), &cache));
      expect_close(at::cat(parts, 1), whole_BSD, 1e-12);
      EXPECT_EQ(cache.length, S);
      EXPECT_ERROR(attention(x_BSD.slice(1, 0, 1), Tensor(), RoutingContext(), &cache),
                   "at most 5 positions, got 6");
    }
  }
}

TEST(Attention, PaddingBesideACacheIsRefused) {
  const at::NoGradGuard no_grad;
  auto attention = make({.heads = 3});
  KeyValueCache cache = {at::zeros({B, S, 3, 4}, at::kDouble),
                         at::zeros({B, S, 3, 4}, at::kDouble)};
  EXPECT_ERROR(
      attention(normal({B, 2, D}, 2), at::ones({B, 2}, at::kBool), RoutingContext(), &cache),
      "no padding");
}

TEST(Attention, ACacheOfAnotherShapeIsRefused) {
  const at::NoGradGuard no_grad;
  auto attention = make({.heads = 3});
  KeyValueCache cache = {at::zeros({B + 1, S, 3, 4}, at::kDouble),
                         at::zeros({B + 1, S, 3, 4}, at::kDouble)};
  EXPECT_ERROR(attention(normal({B, 2, D}, 2), Tensor(), RoutingContext(), &cache),
               "expected a cache of shape");
}

TEST(Attention, DropoutFollowsTheTokensNumber) {
  const at::NoGradGuard no_grad;
  AttentionOptions options = {.heads = 3, .kv_heads = 1};
  options.dropout = 0.4;
  auto attention = make(options);
  const Tensor x_BSD = normal({B, S, D}, 2);
  RoutingContext context;
  context.training = true;
  context.random = {.seed = 7, .step = 3};
  const Tensor y_BSD = attention(x_BSD, Tensor(), context, nullptr);
  expect_identical(attention(x_BSD, Tensor(), context, nullptr), y_BSD);

  RoutingContext second = context;  // the second row alone, as another rank would have it
  second.first_token = S;
  expect_close(attention(x_BSD.slice(0, 1), Tensor(), second, nullptr), y_BSD.slice(0, 1), 1e-14);
  RoutingContext later = context;
  later.random.step = 4;
  EXPECT_FALSE(attention(x_BSD, Tensor(), later, nullptr).equal(y_BSD));
  context.training = false;
  EXPECT_FALSE(attention(x_BSD, Tensor(), context, nullptr).equal(y_BSD));
  expect_close(attention(x_BSD, Tensor(), context, nullptr), naive(*attention, options, x_BSD, {}),
               1e-12);
}

TEST(Attention, AlmostNoDropoutIsAlmostTheFusedProduct) {
  const at::NoGradGuard no_grad;
  const Tensor x_BSD = normal({B, S, D}, 2);
  RoutingContext context;
  context.training = true;
  for (auto [name, options] : forms()) {
    SCOPED_TRACE(name);
    auto plain = make(options);
    options.dropout = 1e-9;
    auto dropping = make(options);
    expect_close(dropping(x_BSD, Tensor(), context, nullptr),
                 plain(x_BSD, Tensor(), context, nullptr), 1e-7);
  }
}

TEST(Attention, Bfloat16IsCloseToFloat32) {
  const at::NoGradGuard no_grad;
  const Tensor x_BSD = normal({B, S, D}, 2).to(at::kFloat);
  for (const auto& [name, options] : forms()) {
    SCOPED_TRACE(name);
    auto attention = make(options);
    RoutingContext context;
    const Tensor y_BSD = attention(x_BSD, Tensor(), context, nullptr);
    EXPECT_EQ(y_BSD.scalar_type(), at::kFloat);
    context.compute = at::kBFloat16;
    const Tensor narrow_BSD = attention(x_BSD, Tensor(), context, nullptr);
    EXPECT_EQ(narrow_BSD.scalar_type(), at::kBFloat16);
    const double scale = y_BSD.abs().max().item<double>();
    expect_close(narrow_BSD.to(at::kFloat) / scale, y_BSD / scale, 0.03);
  }
}

/// Training in bfloat16 takes another path (every weight in memory) than inference.
TEST(Attention, Bfloat16GradientsAreCloseToFloat32) {
  const Tensor x_BSD = normal({B, S, D}, 2).to(at::kFloat), upstream_BSD = normal({B, S, D}, 3);
  Tensor valid_BS = at::ones({B, S}, at::kBool);
  valid_BS[0].slice(0, S - 2).fill_(false);
  for (const auto& [name, options] : forms())
    for (const Tensor& valid : {Tensor(), valid_BS}) {
      SCOPED_TRACE(name);
      auto attention = make(options);
      const Tensor weight_BSD = valid.defined() ? upstream_BSD * valid.unsqueeze(2) : upstream_BSD;
      const auto gradients = [&](at::ScalarType type) {
        RoutingContext context;
        context.compute = type;
        Tensor x = x_BSD.clone().requires_grad_(true);
        attention->zero_grad();
        (attention(x, valid, context, nullptr).to(at::kFloat) * weight_BSD).sum().backward();
        std::vector<Tensor> all = {x.grad()};
        for (const Tensor& parameter : attention->parameters())
          all.push_back(parameter.grad().clone());
        return all;
      };
      const auto wide = gradients(at::kFloat), narrow = gradients(at::kBFloat16);
      for (size_t i = 0; i < wide.size(); ++i) {
        SCOPED_TRACE(i);
        const double scale = wide[i].abs().max().item<double>() + 1e-3;
        expect_close(narrow[i].to(at::kDouble) / scale, wide[i].to(at::kDouble) / scale, 0.04);
      }
    }
}

TEST(Attention, TakesNoRowsAndOnePosition) {
  auto attention = make({.heads = 3, .kv_heads = 1});
  const Tensor y =
      attention(at::zeros({0, S, D}, at::kDouble), Tensor(), RoutingContext(), nullptr);
  EXPECT_EQ(y.sizes(), (std::vector<int64_t>{0, S, D}));
  y.sum().backward();
  for (const Tensor& parameter : attention->parameters()) {
    EXPECT_TRUE(parameter.grad().eq(0).all().item<bool>());
  }
  const at::NoGradGuard no_grad;
  const Tensor x_BSD = normal({B, S, D}, 2);
  expect_close(attention(x_BSD.slice(1, 0, 1), Tensor(), RoutingContext(), nullptr),
               attention(x_BSD, Tensor(), RoutingContext(), nullptr).slice(1, 0, 1), 1e-13);
}

TEST(Attention, RefusesHeadsThatDoNotFit) {
  EXPECT_ERROR(make({.heads = 3, .kv_heads = 2}), "multiple of kv_heads, got 3 and 2");
  EXPECT_ERROR(make({.heads = 4}), "even head width, got 3");
  EXPECT_ERROR(make({.heads = 5}), "d_model to be a multiple of heads");
  EXPECT_ERROR(make({.heads = 0}), "got 0");
  EXPECT_ERROR(make({.heads = 3, .qk_norm = true, .norm = "batchnorm"}), "rmsnorm");
}

}  // namespace

}  // namespace moe::layers::attention_test
