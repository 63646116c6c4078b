// Biases by distance: the buckets of the paper's code, and attention with them against plain loops.
// T tokens, D width, H heads, P head width, B buckets.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/attend.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/relative_positions.h>

namespace moe::layers::relative_positions_test {

namespace {

using moe::test::expect_close;
using moe::test::normal;

constexpr int64_t D = 8;

/// By the formula, in float64 and integers.
int64_t bucket_of(int64_t ahead, int64_t buckets, int64_t max_distance, bool causal) {
  const int64_t side = causal ? buckets : buckets / 2, exact = side / 2;
  const int64_t first = !causal && ahead > 0 ? side : 0;
  const int64_t n = causal ? std::max<int64_t>(-ahead, 0) : std::abs(ahead);
  if (n < exact) return first + n;
  const double grown = std::log(static_cast<double>(n) / static_cast<double>(exact)) /
                       std::log(static_cast<double>(max_distance) / static_cast<double>(exact)) *
                       static_cast<double>(side - exact);
  return first + std::min(side - 1, exact + static_cast<int64_t>(grown + 1e-6));
}

TEST(RelativePositions, AreTheBucketsOfThePaper) {
  struct Case {
    int64_t buckets, max_distance;
  };
  for (const auto& [buckets, max_distance] : {Case{32, 128}, Case{8, 16}, Case{6, 20}})
    for (const bool causal : {true, false}) {
      // A table whose entries are their own bucket.
      const RelativeBias bias = {at::arange(buckets, at::kDouble).unsqueeze(1), max_distance};
      const int64_t C = 300;
      const Tensor bias_QC = bias.of(C, C, causal)[0];
      for (int64_t q = 0; q < C; q += 13)
        for (int64_t c = 0; c < C; ++c)
          ASSERT_EQ(bias_QC[q][c].item<int64_t>(), bucket_of(c - q, buckets, max_distance, causal))
              << q << ' ' << c << ' ' << buckets << ' ' << causal;
      // Queries are the last ones.
      EXPECT_TRUE(bias.of(2, C, causal)[0].equal(bias_QC.slice(0, C - 2)));
    }
  // 32 buckets for what came before: 16 distances alone, then 16, 17 and 18 together.
  const RelativeBias bias = {at::arange(32, at::kDouble).unsqueeze(1), 128};
  const Tensor last_C = bias.of(1, 130, true)[0][0];
  EXPECT_EQ(last_C[129 - 15].item<int64_t>(), 15);
  EXPECT_EQ(last_C[129 - 18].item<int64_t>(), 16);
  EXPECT_EQ(last_C[129 - 19].item<int64_t>(), 17);
  EXPECT_EQ(last_C[0].item<int64_t>(), 31);
}

Attention form(bool shared = false) {
  Attention out;
  out.heads = 2;
  out.head_dim = 3;
  out.scale = 1;
  out.rope.kind = "none";
  out.relative = {.buckets = 6, .max_distance = 9, .shared = shared};
  return out;
}

std::shared_ptr<Mixer> make(const Attention& options, bool causal) {
  const auto out = MixerSpec(options).make(MixerShape{.d_model = D, .causal = causal});
  moe::test::randomise(*out, 3);
  return out;
}

LayerContext of(const std::vector<int64_t>& lengths) {
  LayerContext context;
  context.tokens.sequences = Sequences::of_lengths(lengths);
  return context;
}

Tensor naive(const Mixer& mixer, bool causal, const Tensor& x_TD, const Tensor& table_BH) {
  const auto p = mixer.named_parameters();
  const int64_t T = x_TD.size(0), H = 2, P = 3;
  const Tensor q = at::linear(x_TD, p["w_q"]), k = at::linear(x_TD, p["w_k"]),
               v = at::linear(x_TD, p["w_v"]);
  Tensor heads = at::zeros({T, H * P}, at::kDouble);
  for (int64_t t = 0; t < T; ++t)
    for (int64_t h = 0; h < H; ++h) {
      const auto head = [&](const Tensor& x, int64_t i) {
        return x[i].slice(0, h * P, (h + 1) * P);
      };
      double total = 0;
      Tensor sum = at::zeros({P}, at::kDouble);
      for (int64_t c = 0; c < (causal ? t + 1 : T); ++c) {
        const double bias = table_BH[bucket_of(c - t, 6, 9, causal)][h].item<double>();
        const double weight = std::exp((head(q, t) * head(k, c)).sum().item<double>() + bias);
        total += weight;
        sum += head(v, c) * weight;
      }
      heads[t].slice(0, h * P, (h + 1) * P) = sum / total;
    }
  return at::linear(heads, p["w_o"]);
}

TEST(RelativePositions, AttentionIsWhatPlainLoopsGive) {
  const at::NoGradGuard no_grad;
  for (const bool causal : {true, false}) {
    const auto mixer = make(form(), causal);
    const Tensor table_BH = mixer->named_parameters()["position_bias"];
    ASSERT_EQ(table_BH.sizes(), (std::vector<int64_t>{6, 2}));
    const Tensor x_TD = normal({19, D}, 4);
    const Tensor got_TD = mixer->forward(x_TD, of({13, 2, 4}), nullptr);
    expect_close(got_TD.slice(0, 0, 13), naive(*mixer, causal, x_TD.slice(0, 0, 13), table_BH),
                 1e-12);
    expect_close(got_TD.slice(0, 15), naive(*mixer, causal, x_TD.slice(0, 15), table_BH), 1e-12);
  }
}

TEST(RelativePositions, GradientsEqualCentralDifferences) {
  for (const bool causal : {true, false}) {
    const auto mixer = make(form(), causal);
    Tensor x_TD = normal({9, D}, 4);
    auto tensors = moe::test::named_parameters_of(*mixer);
    tensors.emplace_back("x", x_TD);
    const Tensor weights = normal({9, D}, 5);
    moe::test::expect_directional_gradients(
        [&] {
          return (mixer->forward(x_TD, of({6, 3}), nullptr) * weights).sum();
        },
        tensors);
  }
}

TEST(RelativePositions, AStateGivesWhatAWholeReadingGives) {
  const at::NoGradGuard no_grad;
  const auto mixer = make(form(), true);
  const Tensor x_TD = normal({40, D}, 6);
  const Tensor whole_TD = mixer->forward(x_TD, of({40}), nullptr);
  for (const int64_t step : {1, 3, 17}) {
    const auto state =
        mixer->new_state({.capacity = 40, .tensors = at::TensorOptions(at::kDouble)});
    state->join(1);
    for (int64_t begin = 0; begin < 40; begin += step) {
      const int64_t count = std::min(step, 40 - begin);
      LayerContext context = of({count});
      context.tokens.sequences.first_position = {begin};
      expect_close(mixer->forward(x_TD.narrow(0, begin, count), context, state.get()),
                   whole_TD.narrow(0, begin, count), 1e-12);
    }
  }
}

TEST(RelativePositions, LayersShareTheTableOfAnEarlierOne) {
  const at::NoGradGuard no_grad;
  const auto first = make(form(), true), second = make(form(true), true),
             third = make(form(true), true);
  const Tensor x_TD = normal({12, D}, 6);
  EXPECT_EQ(second->named_parameters().find("position_bias"), nullptr);
  EXPECT_ERROR(second->forward(x_TD, of({12}), nullptr), "expected an earlier layer");
  second->follow(*first);
  third->follow(*second);
  const Tensor table_BH = first->named_parameters()["position_bias"];
  expect_close(third->forward(x_TD, of({12}), nullptr), naive(*third, true, x_TD, table_BH), 1e-12);
  table_BH.add_(1.5);
  table_BH[2].add_(1);
  expect_close(third->forward(x_TD, of({12}), nullptr), naive(*third, true, x_TD, table_BH), 1e-12);
  auto other = form(true);
  other.relative.buckets = 8;
  EXPECT_ERROR(make(other, true)->follow(*first), "a shared table of 8 buckets");
}

TEST(RelativePositions, RefusesOptionsThatMeanNothing) {
  RelativePositions options = {.buckets = 3};
  EXPECT_ERROR(options.validate("r"), "'r.buckets' to be 0 or at least 4, got 3");
  options = {.buckets = 32, .max_distance = 16};
  EXPECT_ERROR(options.validate("r"), "'r.max_distance' above half of the buckets, got 16");
  auto attention = form();
  attention.softcap = 3;
  EXPECT_ERROR(attention.validate("a"), "'a.relative' without softcap");
}

}  // namespace

}  // namespace moe::layers::relative_positions_test
