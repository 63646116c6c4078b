// V vocabulary.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <ATen/ops/argmax.h>
#include <ATen/ops/full.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

#include <moe/generation/sampler.h>

#include "tests/support/gradcheck.h"
#include "tests/support/message_of.h"

namespace moe::generation {
namespace {

using moe::test::normal;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<double> softmax(const std::vector<double>& logits) {
  const double largest = *std::ranges::max_element(logits);
  std::vector<double> out;
  double total = 0;
  for (const double logit : logits) total += out.emplace_back(std::exp(logit - largest));
  for (double& p : out) p /= total;
  return out;
}

/// Ids by decreasing value, ties by increasing id.
std::vector<size_t> sorted(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return values[a] > values[b]; });
  return order;
}

/// Every rule as its paper states it: full sorts, and -infinity for what is removed.
std::vector<double> naive(std::vector<double> logits, std::span<const int64_t> history,
                          const SamplerOptions& options) {
  for (size_t i = 0; i < logits.size(); ++i)
    if (std::ranges::count(history, static_cast<int64_t>(i)) > 0)
      logits[i] *= logits[i] > 0 ? 1 / options.repetition_penalty : options.repetition_penalty;
  for (double& logit : logits) logit /= options.temperature;
  if (options.top_k > 0) {
    const auto order = sorted(logits);
    for (size_t rank = 0; rank < order.size(); ++rank)
      if (static_cast<int64_t>(rank) >= options.top_k) logits[order[rank]] = -kInfinity;
  }
  if (options.top_p < 1) {
    const auto p = softmax(logits);
    double before = 0;
    for (const size_t i : sorted(logits)) {
      if (before >= options.top_p) logits[i] = -kInfinity;
      before += p[i];
    }
  }
  const auto p = softmax(logits);
  const double least = options.min_p * *std::ranges::max_element(p);
  for (size_t i = 0; i < logits.size(); ++i)
    if (p[i] < least) logits[i] = -kInfinity;
  return softmax(logits);
}

std::vector<double> list(const Tensor& logits_V) {
  const Tensor all = logits_V.contiguous();
  return {all.const_data_ptr<double>(), all.const_data_ptr<double>() + all.numel()};
}

void expect_as_naive(const SamplerOptions& options, std::span<const int64_t> history = {}) {
  for (const int64_t V : {1, 2, 7, 200})
    for (uint64_t seed = 0; seed < 10; ++seed) {
      const Tensor logits_V = normal({V}, seed) * 2;
      std::vector<int64_t> known;
      for (const int64_t id : history)
        if (id < V) known.push_back(id);
      const auto found = sampling_probabilities(logits_V, known, options);
      const auto expected = naive(list(logits_V), known, options);
      ASSERT_EQ(found.size(), expected.size());
      for (size_t i = 0; i < found.size(); ++i)
        ASSERT_NEAR(found[i], expected[i], 1e-12) << "V " << V << " seed " << seed << " id " << i;
    }
}

TEST(Sampler, GreedyIsArgmaxAndTiesGoToTheLowestId) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Tensor logits_V = normal({50}, seed);
    EXPECT_EQ(sample(logits_V, {}, {.temperature = 0, .seed = 3}, 0),
              logits_V.argmax().item<int64_t>());
  }
  const Tensor tied_V = at::tensor({0.0, 2.0, 1.0, 2.0});
  EXPECT_EQ(sample(tied_V, {}, {.temperature = 0}, 0), 1);
  EXPECT_EQ(sampling_probabilities(tied_V, {}, {.temperature = 0}),
            (std::vector<double>{0, 1, 0, 0}));
}

TEST(Sampler, PlainIsSoftmax) {
  expect_as_naive({});
}

TEST(Sampler, TemperatureDividesLogits) {
  expect_as_naive({.temperature = 0.3});
  expect_as_naive({.temperature = 4});
}

TEST(Sampler, TopKIsAsTheNaiveOne) {
  for (const int64_t k : {1, 2, 5, 150, 1000}) expect_as_naive({.temperature = 0.7, .top_k = k});
}

TEST(Sampler, TopPIsAsTheNaiveOne) {
  for (const double p : {1e-9, 0.1, 0.5, 0.9, 0.999}) expect_as_naive({.top_p = p});
}

TEST(Sampler, MinPIsAsTheNaiveOne) {
  for (const double p : {0.01, 0.2, 1.0}) expect_as_naive({.temperature = 1.5, .min_p = p});
}

TEST(Sampler, RepetitionPenaltyCountsEveryIdOnce) {
  const std::vector<int64_t> history = {0, 3, 3, 3, 6, 100};
  expect_as_naive({.repetition_penalty = 1.3}, history);
  expect_as_naive({.repetition_penalty = 0.5}, history);
}

TEST(Sampler, AllRulesTogetherApplyInTheirOrder) {
  expect_as_naive(
      {.temperature = 0.8, .top_k = 40, .top_p = 0.85, .min_p = 0.05, .repetition_penalty = 1.2},
      std::vector<int64_t>{1, 2, 5, 50});
}

TEST(Sampler, TiesAtABorderKeepTheLowestIds) {
  const Tensor even_V = at::full({6}, 1.5, at::kDouble);
  const auto top_k = sampling_probabilities(even_V, {}, {.top_k = 2});
  EXPECT_EQ(top_k, (std::vector<double>{0.5, 0.5, 0, 0, 0, 0}));
  const auto top_p = sampling_probabilities(even_V, {}, {.top_p = 0.4});
  EXPECT_GT(top_p[2], 0);
  EXPECT_EQ(top_p[3], 0);
}

TEST(Sampler, NeverDrawsWhatAFilterRemoved) {
  const Tensor logits_V = normal({30}, 1);
  const SamplerOptions options{.temperature = 2, .top_k = 4, .top_p = 0.9, .seed = 8};
  const auto p = sampling_probabilities(logits_V, {}, options);
  for (int64_t position = 0; position < 500; ++position)
    EXPECT_GT(p[static_cast<size_t>(sample(logits_V, {}, options, position))], 0);
}

TEST(Sampler, MinusInfinityIsNeverDrawn) {
  const Tensor logits_V = at::tensor({-kInfinity, 0.0, -kInfinity, 1.0});
  for (int64_t position = 0; position < 200; ++position)
    EXPECT_EQ(sample(logits_V, {}, {.temperature = 10}, position) % 2, 1);
}

TEST(Sampler, FrequenciesFitTheProbabilities) {
  // Chi-square with 9 degrees of freedom: 27.9 is the 0.999 quantile. The seed is fixed.
  const Tensor logits_V = normal({10}, 4);
  const SamplerOptions options{.seed = 21};
  const auto p = sampling_probabilities(logits_V, {}, options);
  constexpr int64_t kDraws = 20000;
  std::vector<double> count(10);
  for (int64_t position = 0; position < kDraws; ++position)
    ++count[static_cast<size_t>(sample(logits_V, {}, options, position))];
  double chi_square = 0;
  for (size_t i = 0; i < 10; ++i) {
    const double expected = p[i] * kDraws;
    chi_square += (count[i] - expected) * (count[i] - expected) / expected;
  }
  EXPECT_LT(chi_square, 27.9);
}

TEST(Sampler, DependsOnSeedAndPositionAlone) {
  const Tensor logits_V = normal({100}, 2);
  const auto draws = [&](int64_t seed) {
    std::vector<int64_t> out;
    for (int64_t position = 0; position < 50; ++position)
      out.push_back(sample(logits_V, {}, {.seed = seed}, position));
    return out;
  };
  EXPECT_EQ(draws(1), draws(1));
  EXPECT_NE(draws(1), draws(2));
  EXPECT_EQ(sample(logits_V, {}, {.seed = 1}, 30), draws(1)[30]);
}

TEST(Sampler, ReadsEveryFloatingType) {
  const Tensor logits_V = at::tensor({0.5, 3.0, -1.0});
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16})
    EXPECT_EQ(sample(logits_V.to(type), {}, {.temperature = 0}, 0), 1);
}

TEST(Sampler, RefusesLogitsThatAreNoNumbers) {
  EXPECT_ERROR(sample(at::tensor({0.0, std::nan(""), 1.0}), {}, {}, 0), "got nan for token 1");
  EXPECT_ERROR(sample(at::tensor({0.0, std::nan("")}), {}, {.temperature = 0}, 0), "got nan");
  EXPECT_ERROR(sample(at::tensor({kInfinity, 0.0}), {}, {}, 0), "got inf for token 0");
  EXPECT_ERROR(sample(at::tensor({-kInfinity, -kInfinity}), {}, {}, 0), "-infinity for all of 2");
  EXPECT_ERROR(sample(normal({2, 3}, 1), {}, {}, 0), "shape (V,)");
}

TEST(Sampler, RefusesHistoryOutsideTheVocabulary) {
  const std::vector<int64_t> history = {0, 5};
  EXPECT_ERROR(sample(normal({5}, 1), history, {.repetition_penalty = 2}, 0), "got 5");
}

TEST(Sampler, RefusesOptionsOutOfRangeByName) {
  const Tensor logits_V = normal({3}, 1);
  const auto refuse = [&](const SamplerOptions& options, const char* name) {
    EXPECT_THROW(sample(logits_V, {}, options, 0), ConfigError);
    EXPECT_ERROR(sample(logits_V, {}, options, 0), std::string("expected ") + name);
  };
  refuse({.temperature = -1}, "temperature");
  refuse({.temperature = std::nan("")}, "temperature");
  refuse({.top_k = -1}, "top_k");
  refuse({.top_p = 0}, "top_p");
  refuse({.top_p = 1.5}, "top_p");
  refuse({.min_p = -0.1}, "min_p");
  refuse({.repetition_penalty = 0}, "repetition_penalty");
}

}  // namespace
}  // namespace moe::generation
