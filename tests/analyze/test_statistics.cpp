// The collector against loops over the same rows.
#include <cmath>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include <moe/analyze/coactivation.h>
#include <moe/analyze/expert_tokens.h>
#include <moe/analyze/information.h>
#include <moe/analyze/statistics.h>

#include "tests/analyze/routed.h"
#include "tests/support/message_of.h"

namespace moe::analyze {
namespace {

using Cells = std::map<std::pair<int64_t, int64_t>, int64_t>;

Cells cells_of(const CountTable& table) {
  Cells out;
  for (size_t i = 0; i < table.size(); ++i) out[{table[i].row, table[i].column}] = table[i].count;
  return out;
}

RoutingStatistics collect(const std::vector<RoutedRows>& batches, StatisticsOptions options = {}) {
  if (options.vocabulary == 0) options.vocabulary = 7;
  StatisticsCollector collector(options);
  for (const auto& rows : batches) collector.add(rows);
  return std::move(collector).finish();
}

std::vector<RoutedRows> batches() {
  return {test::random_rows(1), test::random_rows(2, {.rows = 0}),
          test::random_rows(3, {.rows = 9, .domain = 1})};
}

TEST(Statistics, EqualLoopsOverTheRows) {
  for (const Choices choices : {Choices::kAll, Choices::kFirst}) {
    const auto found = collect(batches(), {.position_bins = 5, .choices = choices});
    ASSERT_EQ(found.layers.size(), 2u);
    ASSERT_EQ(found.flows.size(), 1u);
    for (size_t i = 0; i < 2; ++i) {
      Cells tokens, positions, together, flow;
      std::vector<int64_t> load(static_cast<size_t>(found.layers[i].experts), 0), chose = load;
      int64_t dropped = 0, counted = 0;
      std::vector<double> entropies, score_entropies;
      for (const auto& rows : batches())
        for (size_t t = 0; t < rows.token_T.size(); ++t) {
          if (!rows.counted_T[t]) continue;
          ++counted;
          const auto& pairs = rows.layers[i];
          std::set<int64_t> experts;
          double sum = 0, h = 0;
          for (int64_t n = pairs.offset_T[t]; n < pairs.offset_T[t + 1]; ++n) {
            const int64_t e = pairs.expert_N[static_cast<size_t>(n)];
            sum += static_cast<double>(pairs.weight_N[static_cast<size_t>(n)]);
            if (e < 0) {
              ++dropped;
              continue;
            }
            experts.insert(e);
            if (choices == Choices::kFirst && n > pairs.offset_T[t]) continue;
            ++tokens[{e, rows.token_T[t]}];
            ++positions[{e, rows.position_T[t] * 5 / 12}];
            ++load[static_cast<size_t>(e)];
          }
          for (const int64_t a : experts) {
            ++chose[static_cast<size_t>(a)];
            for (const int64_t b : experts)
              if (a < b) ++together[{a, b}];
            std::set<int64_t> next;
            if (i == 0)
              for (int64_t n = rows.layers[1].offset_T[t]; n < rows.layers[1].offset_T[t + 1]; ++n)
                next.insert(rows.layers[1].expert_N[static_cast<size_t>(n)]);
            for (const int64_t b : next)
              if (b >= 0) ++flow[{a, b}];
          }
          score_entropies.push_back(static_cast<double>(pairs.score_entropy_T[t]));
          if (experts.empty()) continue;
          for (int64_t n = pairs.offset_T[t]; n < pairs.offset_T[t + 1]; ++n) {
            const double p = static_cast<double>(pairs.weight_N[static_cast<size_t>(n)]) / sum;
            if (p > 0) h -= p * std::log(p);
          }
          entropies.push_back(h);
        }
      const auto& layer = found.layers[i];
      EXPECT_EQ(found.tokens, counted);
      EXPECT_EQ(layer.layer, static_cast<int64_t>(2 * i + 1));
      EXPECT_EQ(cells_of(layer.counts_EV), tokens);
      EXPECT_EQ(cells_of(layer.counts_EP), positions);
      EXPECT_EQ(cells_of(layer.together_EE), together);
      EXPECT_EQ(layer.load_E, load);
      EXPECT_EQ(layer.tokens_E, chose);
      EXPECT_EQ(layer.dropped, dropped);
      EXPECT_NEAR(layer.load_entropy, entropy(load), 1e-12);
      EXPECT_NEAR(layer.load_evenness, entropy(load) / std::log(static_cast<double>(layer.experts)),
                  1e-12);
      EXPECT_NEAR(layer.token.information, association(layer.counts_EV).information, 1e-12);
      if (i == 0) {
        EXPECT_EQ(cells_of(found.flows[0].counts_EG), flow);
      }

      const auto mean = [](const std::vector<double>& values) {
        double sum = 0;
        for (const double value : values) sum += value;
        return sum / static_cast<double>(values.size());
      };
      EXPECT_EQ(layer.weight_entropy.count(), static_cast<int64_t>(entropies.size()));
      EXPECT_NEAR(layer.weight_entropy.mean(), mean(entropies), 1e-9);
      EXPECT_NEAR(layer.weight_entropy.max(), *std::ranges::max_element(entropies), 1e-9);
      EXPECT_EQ(layer.score_entropy.count(), static_cast<int64_t>(score_entropies.size()));
      EXPECT_NEAR(layer.score_entropy.mean(), mean(score_entropies), 1e-9);
    }
  }
}

TEST(Statistics, OfOneBatchAreThoseOfItsRowsOneByOne) {
  const auto whole = test::random_rows(4, {.rows = 6});
  std::vector<RoutedRows> parts;
  for (size_t u = 0; u < 6; ++u) {
    const auto begin = static_cast<std::ptrdiff_t>(whole.row_begin_U[u]),
               end = static_cast<std::ptrdiff_t>(whole.row_begin_U[u + 1]);
    const auto part = [&](auto& to, const auto& from, std::ptrdiff_t b, std::ptrdiff_t e) {
      to.assign(from.begin() + b, from.begin() + e);
    };
    RoutedRows row{.domain = 0, .sequence = whole.sequence, .row_begin_U = {0, end - begin}};
    part(row.token_T, whole.token_T, begin, end);
    part(row.position_T, whole.position_T, begin, end);
    part(row.counted_T, whole.counted_T, begin, end);
    for (const auto& layer : whole.layers) {
      LayerPairs pairs{.layer = layer.layer, .experts = layer.experts};
      const auto b = static_cast<std::ptrdiff_t>(layer.offset_T[static_cast<size_t>(begin)]),
                 e = static_cast<std::ptrdiff_t>(layer.offset_T[static_cast<size_t>(end)]);
      part(pairs.offset_T, layer.offset_T, begin, end + 1);
      for (auto& offset : pairs.offset_T) offset -= b;
      part(pairs.expert_N, layer.expert_N, b, e);
      part(pairs.weight_N, layer.weight_N, b, e);
      part(pairs.score_entropy_T, layer.score_entropy_T, begin, end);
      row.layers.push_back(pairs);
    }
    parts.push_back(row);
  }
  const auto a = collect({whole}), b = collect(parts);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(cells_of(a.layers[i].counts_EV), cells_of(b.layers[i].counts_EV));
    EXPECT_EQ(a.layers[i].weight_entropy.mean(), b.layers[i].weight_entropy.mean());
    EXPECT_EQ(a.layers[i].weight_entropy.deviation(), b.layers[i].weight_entropy.deviation());
  }
}

TEST(Statistics, OfNoRowsAndNoTokensAreEmpty) {
  EXPECT_TRUE(collect({}).layers.empty());
  const auto none = collect({test::random_rows(1, {.rows = 0})});
  ASSERT_EQ(none.layers.size(), 2u);
  EXPECT_EQ(none.tokens, 0);
  EXPECT_EQ(none.layers[0].token.information, 0);
  EXPECT_TRUE(std::isnan(none.layers[0].weight_entropy.mean()));
  EXPECT_TRUE(pairs_together(none.layers[0].together_EE, none.layers[0].tokens_E).empty());
  EXPECT_TRUE(pairs_across(none.flows[0].counts_EG).empty());
}

TEST(Statistics, OneExpertTakesAll) {
  const auto found = collect({test::random_rows(6, {.experts = {1}, .most_choices = 1})});
  EXPECT_EQ(found.layers[0].load_evenness, 1);
  EXPECT_EQ(found.layers[0].token.of_expert, 0);
  EXPECT_EQ(found.layers[0].together_EE.size(), 0u);
  EXPECT_TRUE(found.flows.empty());
}

TEST(Statistics, RefuseWhatDoesNotFit) {
  EXPECT_ERROR(StatisticsCollector({.vocabulary = 0}), "vocabulary");
  EXPECT_ERROR(StatisticsCollector({.vocabulary = 3, .position_bins = 0}), "position bins");
  EXPECT_ERROR(collect({test::random_rows(1)}, {.vocabulary = 2}), "token ids in [0, 2)");
  EXPECT_ERROR(collect({test::random_rows(1), test::random_rows(1, {.experts = {4}})}),
               "2 MoE layers, as before, got 1");
  EXPECT_ERROR(collect({test::random_rows(1), test::random_rows(1, {.experts = {4, 7}})}),
               "expected 6 experts in layer 3");
  EXPECT_ERROR(collect({test::random_rows(1)}, {.vocabulary = 7, .most_cells = 40}),
               "Look at fewer tokens");
}

TEST(Statistics, EntropyOfWeights) {
  const std::vector<float> even = {0.25f, 0.25f, 0.25f, 0.25f}, one = {0, 3, 0}, none = {0, 0};
  EXPECT_NEAR(weight_entropy(even), std::log(4.0), 1e-12);
  EXPECT_EQ(weight_entropy(one), 0);
  EXPECT_TRUE(std::isnan(weight_entropy(none)));
  EXPECT_TRUE(std::isnan(weight_entropy(std::vector<float>{1, std::nanf("")})));
  EXPECT_TRUE(std::isnan(weight_entropy({})));
}

}  // namespace
}  // namespace moe::analyze
