// Tables of counts and what is read off them, against the definitions.
#include <cmath>
#include <map>
#include <numeric>

#include <gtest/gtest.h>

#include <moe/analyze/association.h>
#include <moe/analyze/coactivation.h>
#include <moe/analyze/expert_tokens.h>
#include <moe/analyze/moments.h>
#include <moe/base/random.h>

#include "tests/support/message_of.h"

namespace moe::analyze {
namespace {

using Dense = std::vector<std::vector<int64_t>>;

CountTable table_of_dense(const Dense& counts) {
  CountTableBuilder builder(static_cast<int64_t>(counts.size()),
                            static_cast<int64_t>(counts[0].size()), "things", 1000);
  for (size_t r = 0; r < counts.size(); ++r)
    for (size_t c = 0; c < counts[r].size(); ++c)
      for (int64_t n = 0; n < counts[r][c]; ++n)
        builder.add(static_cast<int64_t>(r), static_cast<int64_t>(c));
  return std::move(builder).finish();
}

Dense random_dense(uint64_t seed, size_t rows, size_t columns) {
  const RandomStream stream({.seed = seed}, Purpose::kTest);
  Dense out(rows, std::vector<int64_t>(columns));
  for (size_t i = 0; i < rows * columns; ++i) {
    const auto n = static_cast<int64_t>(stream.below(i, 12));
    out[i / columns][i % columns] = n < 5 ? 0 : n;
  }
  return out;
}

TEST(CountTable, SparseAndWholeTablesEqualAMap) {
  // 6 x 5 is kept whole while it is filled, 3000 x 200000 is not.
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{6, 5}, {3000, 200000}}) {
    const RandomStream stream({.seed = 2}, Purpose::kTest);
    CountTableBuilder builder(rows, columns, "things", 1 << 20);
    std::map<std::pair<int64_t, int64_t>, int64_t> expected;
    for (uint64_t i = 0; i < 200000; ++i) {
      // Squares fall on few cells often and on many seldom.
      const auto draw = static_cast<int64_t>(stream.below(i, 300));
      const int64_t row = draw * draw % rows, column = draw * draw * draw % columns;
      builder.add(row, column);
      ++expected[{row, column}];
    }
    const CountTable table = std::move(builder).finish();
    ASSERT_EQ(table.size(), expected.size());
    EXPECT_EQ(table.total(), 200000);
    std::vector<int64_t> row_sums(static_cast<size_t>(rows)),
        column_sums(static_cast<size_t>(columns));
    size_t i = 0;
    for (const auto& [cell, count] : expected) {
      EXPECT_EQ(table[i].row, cell.first);
      EXPECT_EQ(table[i].column, cell.second);
      EXPECT_EQ(table[i].count, count);
      EXPECT_EQ(table.at(cell.first, cell.second), count);
      row_sums[static_cast<size_t>(cell.first)] += count;
      column_sums[static_cast<size_t>(cell.second)] += count;
      ++i;
    }
    EXPECT_EQ(table.row_sums(), row_sums);
    EXPECT_EQ(table.column_sums(), column_sums);
  }
}

TEST(CountTable, IsEmptyWithoutCountsAndRefusesTooManyCells) {
  const CountTable empty = CountTableBuilder(2, 3, "things", 10).finish();
  EXPECT_EQ(empty.size(), 0u);
  EXPECT_EQ(empty.at(1, 2), 0);
  EXPECT_EQ(empty.row_sums(), (std::vector<int64_t>{0, 0}));
  EXPECT_ERROR(CountTableBuilder(0, 3, "things", 10), "a table of things");
  EXPECT_ERROR(CountTableBuilder(int64_t{1} << 40, int64_t{1} << 40, "things", 10), "things");
  CountTableBuilder small(3, 3, "things", 2);
  for (int64_t i = 0; i < 3; ++i) small.add(i, i);
  EXPECT_ERROR(std::move(small).finish(), "at most 2 different pairs in the table of things");
  CountTableBuilder large(4096, 262144, "things", 1000);
  EXPECT_ERROR(for (int64_t i = 0; i < 1 << 20; ++i) large.add(i % 4096, i % 262144), "--batches");
}

TEST(Association, EqualsItsDefinition) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Dense counts = random_dense(seed, 4, 7);
    double N = 0, filled = 0, information = 0, of_experts = 0, of_labels = 0;
    std::vector<double> row(4, 0), column(7, 0);
    for (size_t r = 0; r < 4; ++r)
      for (size_t c = 0; c < 7; ++c) {
        const auto n = static_cast<double>(counts[r][c]);
        N += n, row[r] += n, column[c] += n, filled += n > 0;
      }
    for (size_t r = 0; r < 4; ++r)
      for (size_t c = 0; c < 7; ++c)
        if (const auto n = static_cast<double>(counts[r][c]); n > 0)
          information += n / N * std::log(n * N / (row[r] * column[c]));
    for (const double n : row)
      if (n > 0) of_experts -= n / N * std::log(n / N), --filled;
    for (const double n : column)
      if (n > 0) of_labels -= n / N * std::log(n / N), --filled;
    const auto found = association(table_of_dense(counts));
    EXPECT_NEAR(found.information, information, 1e-12);
    EXPECT_NEAR(found.expert_entropy, of_experts, 1e-12);
    EXPECT_NEAR(found.label_entropy, of_labels, 1e-12);
    EXPECT_NEAR(found.of_expert, information / of_experts, 1e-12);
    EXPECT_NEAR(found.of_label, information / of_labels, 1e-12);
    EXPECT_NEAR(found.corrected, std::max(0.0, information - (filled + 1) / (2 * N)), 1e-12);
  }
}

TEST(Association, TheCorrectionRemovesWhatChanceShows) {
  // 3000 pairs of independent experts and tokens over 8 x 100 cells: the plain estimate shows about
  // 99 * 7 / 6000 = 0.12 nats where there are none.
  double plain = 0, corrected = 0;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const RandomStream stream({.seed = seed}, Purpose::kTest);
    CountTableBuilder builder(8, 100, "things", 1000);
    for (uint64_t i = 0; i < 3000; ++i)
      builder.add(static_cast<int64_t>(stream.below(2 * i, 8)),
                  static_cast<int64_t>(stream.below(2 * i + 1, 100)));
    const auto found = association(std::move(builder).finish());
    plain += found.information / 10, corrected += found.corrected / 10;
  }
  EXPECT_GT(plain, 0.1);
  EXPECT_LT(corrected, 0.02);
}

TEST(Association, OfNothingAndOfOneExpertIsZero) {
  EXPECT_EQ(association(CountTable()).information, 0);
  const auto one = association(table_of_dense({{3, 1, 2}}));
  EXPECT_EQ(one.of_expert, 0);
  EXPECT_EQ(one.of_label, 0);
  const auto diagonal = association(table_of_dense({{4, 0}, {0, 4}}));
  EXPECT_NEAR(diagonal.of_expert, 1, 1e-12);
  EXPECT_NEAR(diagonal.of_label, 1, 1e-12);
}

TEST(ExpertTokens, EqualTheDefinition) {
  const Dense counts = random_dense(3, 5, 9);
  double N = 0;
  std::vector<double> row(5, 0), column(9, 0);
  for (size_t e = 0; e < 5; ++e)
    for (size_t v = 0; v < 9; ++v) {
      const auto n = static_cast<double>(counts[e][v]);
      N += n, row[e] += n, column[v] += n;
    }
  const auto found = tokens_of_experts(table_of_dense(counts), 4);
  ASSERT_EQ(found.size(), 5u);
  for (size_t e = 0; e < 5; ++e) {
    std::vector<std::pair<int64_t, int64_t>> by_count;  // -pairs, token
    std::vector<std::pair<double, int64_t>> by_evidence;
    for (size_t v = 0; v < 9; ++v)
      if (const auto n = static_cast<double>(counts[e][v]); n > 0) {
        by_count.emplace_back(-counts[e][v], static_cast<int64_t>(v));
        const double lift = n / row[e] / (column[v] / N);
        if (lift > 1) by_evidence.emplace_back(-n * std::log(lift), static_cast<int64_t>(v));
      }
    std::ranges::sort(by_count);
    std::ranges::sort(by_evidence);
    EXPECT_EQ(found[e].pairs, static_cast<int64_t>(row[e]));
    EXPECT_EQ(found[e].distinct, static_cast<int64_t>(by_count.size()));
    ASSERT_EQ(found[e].frequent.size(), std::min<size_t>(4, by_count.size()));
    for (size_t i = 0; i < found[e].frequent.size(); ++i) {
      const auto& token = found[e].frequent[i];
      EXPECT_EQ(token.token, by_count[i].second);
      EXPECT_EQ(token.pairs, -by_count[i].first);
      const auto n = static_cast<double>(token.pairs);
      EXPECT_NEAR(token.share, n / row[e], 1e-12);
      EXPECT_NEAR(token.lift, token.share * N / column[static_cast<size_t>(token.token)], 1e-12);
    }
    ASSERT_EQ(found[e].typical.size(), std::min<size_t>(4, by_evidence.size()));
    for (size_t i = 0; i < found[e].typical.size(); ++i)
      EXPECT_EQ(found[e].typical[i].token, by_evidence[i].second);
  }
}

TEST(ExpertTokens, OfAnUnusedExpertAreNone) {
  const auto found = tokens_of_experts(table_of_dense({{1, 2}, {0, 0}, {2, 4}}), 5);
  EXPECT_EQ(found[1].pairs, 0);
  EXPECT_TRUE(found[1].frequent.empty());
  EXPECT_NEAR(found[0].frequent[0].lift, 1, 1e-12);
  EXPECT_TRUE(tokens_of_experts(table_of_dense({{1}}), 0)[0].frequent.empty());
}

TEST(Coactivation, ExpectsWhatIndependentChoicesGive) {
  const Dense counts = {{0, 30, 10}, {0, 0, 20}, {0, 0, 0}};
  const std::vector<int64_t> tokens = {40, 50, 30};
  const auto found = pairs_together(table_of_dense(counts), tokens);
  ASSERT_EQ(found.size(), 3u);
  const double products = 40 * 50 + 40 * 30 + 50 * 30;
  EXPECT_NEAR(found[0].expected, 60 * 2000 / products, 1e-12);
  EXPECT_NEAR(found[1].expected, 60 * 1200 / products, 1e-12);
  EXPECT_NEAR(found[2].expected, 60 * 1500 / products, 1e-12);
  EXPECT_NEAR(found[0].lift, 30 / found[0].expected, 1e-12);
  double sum = 0;
  for (const auto& pair : found) sum += pair.expected;
  EXPECT_NEAR(sum, 60, 1e-9);
  EXPECT_ERROR(pairs_together(table_of_dense(counts), std::vector<int64_t>{1}), "as many experts");
}

TEST(Coactivation, LiftsOfRandomEvenChoicesAreOneForAnyNumberOfThem) {
  for (const size_t K : {2u, 5u, 7u}) {
    constexpr int64_t kExperts = 8;
    CountTableBuilder builder(kExperts, kExperts, "pairs", 100);
    std::vector<int64_t> tokens(kExperts, 0), order(kExperts);
    const RandomStream stream({.seed = K}, Purpose::kTest);
    for (uint64_t t = 0; t < 20000; ++t) {
      std::iota(order.begin(), order.end(), 0);
      for (size_t k = 0; k < K; ++k)
        std::swap(order[k], order[k + stream.below(t * 8 + k, kExperts - k)]);
      for (size_t a = 0; a < K; ++a) {
        ++tokens[static_cast<size_t>(order[a])];
        for (size_t b = 0; b < K; ++b)
          if (order[a] < order[b]) builder.add(order[a], order[b]);
      }
    }
    const auto found = pairs_together(std::move(builder).finish(), tokens);
    ASSERT_EQ(found.size(), 28u);
    for (const auto& pair : found) EXPECT_NEAR(pair.lift, 1, 0.15) << K;
  }
}

TEST(Coactivation, AcrossLayersIsIndependenceOfTheTable) {
  const auto found = pairs_across(table_of_dense({{6, 2}, {0, 4}}));
  ASSERT_EQ(found.size(), 3u);
  EXPECT_NEAR(found[0].expected, 8 * 6 / 12.0, 1e-12);
  EXPECT_NEAR(found[0].lift, 1.5, 1e-12);
  EXPECT_NEAR(found[2].lift, 4 / (4 * 6 / 12.0), 1e-12);
}

TEST(Coactivation, StrongestPairsWeighSizeAndLift) {
  const std::vector<ExpertPair> pairs = {{.first = 0, .second = 1, .together = 3, .lift = 20},
                                         {.first = 0, .second = 2, .together = 1000, .lift = 1.5},
                                         {.first = 1, .second = 2, .together = 5000, .lift = 0.9},
                                         {.first = 1, .second = 3, .together = 100, .lift = 2}};
  const auto found = strongest(pairs, 2);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].second, 2);
  EXPECT_EQ(found[1].second, 3);
  EXPECT_EQ(strongest(pairs, 10).size(), 3u);
  EXPECT_TRUE(strongest({}, 3).empty());
}

TEST(Moments, EqualTwoPassesAndDoNotCancel) {
  Moments moments;
  std::vector<double> values;
  const RandomStream stream({.seed = 1}, Purpose::kTest);
  for (uint64_t i = 0; i < 1000; ++i) values.push_back(1e9 + static_cast<double>(stream.normal(i)));
  for (const double value : values) moments.add(value);
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / 1000;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  EXPECT_EQ(moments.count(), 1000);
  EXPECT_NEAR(moments.mean(), mean, 1e-5);
  EXPECT_NEAR(moments.deviation(), std::sqrt(squares / 999), 1e-6);
  EXPECT_EQ(moments.min(), *std::ranges::min_element(values));
  EXPECT_EQ(moments.max(), *std::ranges::max_element(values));
  EXPECT_EQ(moments.last(), values.back());
}

TEST(Moments, CountNumbersThatAreNotFiniteApart) {
  Moments moments;
  EXPECT_TRUE(std::isnan(moments.mean()) && std::isnan(moments.max()));
  EXPECT_TRUE(std::isnan(moments.deviation()) && std::isnan(moments.last()));
  moments.add(std::nan(""));
  moments.add(3);
  moments.add(HUGE_VAL);
  EXPECT_EQ(moments.count(), 1);
  EXPECT_EQ(moments.not_finite(), 2);
  EXPECT_EQ(moments.mean(), 3);
  EXPECT_EQ(moments.deviation(), 0);
}

}  // namespace
}  // namespace moe::analyze
