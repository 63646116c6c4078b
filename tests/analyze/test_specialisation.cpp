// D domains, E experts, U rows.

#include <algorithm>
#include <cmath>
#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <moe/analyze/information.h>
#include <moe/analyze/specialisation.h>
#include <moe/base/random.h>

namespace moe::analyze {
namespace {

using Table2 = std::vector<std::vector<int64_t>>;

/// One layer's counts: `rows[u]` over experts, `domain_U[u]` its domain.
RoutingCounts counts_of(const std::vector<std::string>& domains,
                        const std::vector<int64_t>& domain_U, const Table2& rows) {
  RoutingCounts out{.domains = domains, .domain_U = domain_U, .tokens = 0, .layers = {}};
  LayerCounts layer{.layer = 3, .experts = static_cast<int64_t>(rows.front().size())};
  for (const auto& row : rows)
    for (const int64_t n : row) {
      layer.counts_UE.push_back(n);
      out.tokens += n;
    }
  out.layers.push_back(layer);
  return out;
}

/// The definition, term by term.
double naive_information(const Table2& counts) {
  double total = 0, information = 0;
  std::vector<double> row(counts.size(), 0), column(counts.front().size(), 0);
  for (size_t d = 0; d < counts.size(); ++d)
    for (size_t e = 0; e < column.size(); ++e) {
      const auto n = static_cast<double>(counts[d][e]);
      total += n, row[d] += n, column[e] += n;
    }
  for (size_t d = 0; d < counts.size(); ++d)
    for (size_t e = 0; e < column.size(); ++e)
      if (const auto n = static_cast<double>(counts[d][e]); n > 0)
        information += n / total * std::log(n * total / (row[d] * column[e]));
  return information;
}

double naive_normalised(const RoutingCounts& counts, const std::vector<int64_t>& label_U) {
  const auto& layer = counts.layers.front();
  const auto E = static_cast<size_t>(layer.experts);
  Table2 table(counts.domains.size(), std::vector<int64_t>(E, 0));
  std::vector<double> size(table.size(), 0);
  double total = 0, uncertainty = 0;
  for (size_t u = 0; u < label_U.size(); ++u)
    for (size_t e = 0; e < E; ++e) {
      const int64_t n = layer.counts_UE[u * E + e];
      table[static_cast<size_t>(label_U[u])][e] += n;
      size[static_cast<size_t>(label_U[u])] += static_cast<double>(n);
      total += static_cast<double>(n);
    }
  for (const double n : size) uncertainty -= n / total * std::log(n / total);
  return naive_information(table) / uncertainty;
}

/// Rows of random counts that know nothing of their domain. `clumped`: all tokens of a row go to
/// one expert.
RoutingCounts random_counts(uint64_t seed, int64_t rows, int64_t experts, bool clumped) {
  const RandomStream stream({.seed = seed}, Purpose::kTest);
  std::vector<int64_t> domain_U;
  Table2 table;
  for (int64_t u = 0; u < rows; ++u) {
    domain_U.push_back(u % 2);
    std::vector<int64_t> row(static_cast<size_t>(experts), 0);
    for (int64_t t = 0; t < 32; ++t) {
      const auto draw = static_cast<uint64_t>(clumped ? u * 32 : u * 32 + t);
      ++row[stream.below(draw, static_cast<uint64_t>(experts))];
    }
    table.push_back(row);
  }
  return counts_of({"a", "b"}, domain_U, table);
}

TEST(Information, OfKnownTables) {
  const std::vector<int64_t> uniform = {5, 5, 5, 5}, single = {0, 7, 0}, none = {0, 0};
  EXPECT_NEAR(entropy(uniform), std::log(4.0), 1e-12);
  EXPECT_EQ(entropy(single), 0);
  EXPECT_EQ(entropy(none), 0);
  const std::vector<int64_t> diagonal = {9, 0, 0, 9}, independent = {2, 4, 6, 3, 6, 9};
  EXPECT_NEAR(mutual_information(diagonal, 2), std::log(2.0), 1e-12);
  EXPECT_NEAR(normalised_information(diagonal, 2), 1, 1e-12);
  EXPECT_NEAR(mutual_information(independent, 3), 0, 1e-12);
  EXPECT_EQ(mutual_information(none, 2), 0);
  const std::vector<int64_t> one_domain = {4, 4, 0, 0};
  EXPECT_EQ(normalised_information(one_domain, 2), 0);
}

TEST(Information, EqualsItsDefinitionOnRandomTables) {
  const RandomStream stream({.seed = 4}, Purpose::kTest);
  for (uint64_t i = 0; i < 50; ++i) {
    Table2 table(3, std::vector<int64_t>(5));
    std::vector<int64_t> flat;
    for (size_t c = 0; c < 15; ++c) {
      table[c / 5][c % 5] = static_cast<int64_t>(stream.below(i * 15 + c, 40));
      flat.push_back(table[c / 5][c % 5]);
    }
    EXPECT_NEAR(mutual_information(flat, 5), naive_information(table), 1e-10);
  }
}

TEST(Specialisation, IsOneWhenEveryExpertServesOneDomain) {
  std::vector<int64_t> domain_U;
  Table2 rows;
  for (int64_t u = 0; u < 30; ++u) {
    domain_U.push_back(u % 3);
    std::vector<int64_t> row(6, 0);
    row[static_cast<size_t>(u % 3)] = 10;
    row[static_cast<size_t>(u % 3 + 3)] = 6;
    rows.push_back(row);
  }
  const auto found = specialisation(counts_of({"a", "b", "c"}, domain_U, rows));
  ASSERT_EQ(found.layers.size(), 1u);
  const auto& layer = found.layers.front();
  EXPECT_EQ(found.rows, 30);
  EXPECT_EQ(layer.layer, 3);
  EXPECT_NEAR(layer.mutual_information, std::log(3.0), 1e-12);
  EXPECT_NEAR(layer.normalised, 1, 1e-12);
  EXPECT_EQ(layer.counts_DE[1], (std::vector<int64_t>{0, 100, 0, 0, 60, 0}));
  EXPECT_NEAR(layer.load_E[0], 100.0 / 480, 1e-12);
  EXPECT_GT(layer.load_entropy, 0.9);
  EXPECT_LT(layer.load_entropy, 1);
  EXPECT_TRUE(layer.above);
  EXPECT_LT(layer.percentile_99, 0.5);
  EXPECT_DOUBLE_EQ(layer.p_value, 1.0 / 1001);
}

TEST(Specialisation, IsNothingWhenAllRowsAreAlike) {
  const auto found =
      specialisation(counts_of({"a", "b"}, {0, 1, 0, 1, 1}, Table2(5, {3, 1, 0, 4})));
  const auto& layer = found.layers.front();
  EXPECT_NEAR(layer.normalised, 0, 1e-12);
  EXPECT_EQ(layer.p_value, 1);
  EXPECT_FALSE(layer.above);
}

TEST(Specialisation, PValuesOfIndependentRoutingAreUniform) {
  for (const bool clumped : {false, true}) {
    // Tokens that go together with their row are no independent evidence: the test must not reject
    // more often because of them.
    constexpr int kTrials = 400;
    double sum = 0;
    std::vector<int> below(3, 0);
    for (int i = 0; i < kTrials; ++i) {
      const auto counts = random_counts(static_cast<uint64_t>(i), 24, 4, clumped);
      const auto found = specialisation(counts, {}, {.permutations = 199, .seed = 7});
      const double p = found.layers.front().p_value;
      sum += p;
      below[0] += p <= 0.05;
      below[1] += p <= 0.25;
      below[2] += p <= 0.75;
    }
    // Four standard deviations around what uniform p-values give; clumped rows make few different
    // tables, so that equal values raise p a little.
    const auto share = [&](size_t i) { return static_cast<double>(below[i]) / kTrials; };
    EXPECT_NEAR(sum / kTrials, 0.5, clumped ? 0.1 : 0.06) << clumped;
    EXPECT_LE(share(0), 0.05 + 0.044) << clumped;
    EXPECT_NEAR(share(1), 0.25, clumped ? 0.12 : 0.087) << clumped;
    EXPECT_NEAR(share(2), 0.75, clumped ? 0.15 : 0.087) << clumped;
  }
}

TEST(Specialisation, PercentileAndPValueApproachThoseOfAllArrangements) {
  const auto counts = random_counts(11, 8, 3, false);
  std::vector<int64_t> labels = {0, 0, 0, 0, 1, 1, 1, 1};
  std::vector<double> all;
  do all.push_back(naive_normalised(counts, labels));
  while (std::ranges::next_permutation(labels).found);
  ASSERT_EQ(all.size(), 70u);
  std::ranges::sort(all);
  const double observed = naive_normalised(counts, counts.domain_U);
  const auto reached = std::ranges::count_if(all, [&](double v) { return v >= observed - 1e-12; });

  const auto found = specialisation(counts, {}, {.permutations = 20000, .seed = 2});
  const auto& layer = found.layers.front();
  EXPECT_NEAR(layer.normalised, observed, 1e-12);
  EXPECT_NEAR(layer.p_value, static_cast<double>(reached) / 70, 0.015);
  // 2 of 70 arrangements (one and its mirror image) have the largest value, 2.9 % of all.
  EXPECT_NEAR(layer.percentile_99, all.back(), 1e-12);
}

TEST(Specialisation, PercentileIsTheOneOfTheSamePermutationsSorted) {
  const auto counts = random_counts(5, 20, 4, false);
  constexpr int64_t kPermutations = 250;
  const auto found = specialisation(counts, {}, {.permutations = kPermutations, .seed = 9});
  const RandomStream stream(9, "analyze/permutation");
  std::vector<int64_t> labels = counts.domain_U;
  std::vector<double> values;
  for (uint64_t p = 0; p < kPermutations; ++p) {
    for (size_t i = labels.size(); i > 1; --i)
      std::swap(labels[i - 1], labels[stream.below(p * labels.size() + i - 1, i)]);
    values.push_back(naive_normalised(counts, labels));
  }
  std::ranges::sort(values);
  EXPECT_NEAR(found.layers.front().percentile_99, values[247], 1e-12);  // ceil(0.99 * 250) = 248th
}

TEST(Specialisation, OfChosenDomainsIsThatOfTheirRowsAlone) {
  const Table2 rows = {{9, 1}, {5, 5}, {1, 9}, {8, 2}, {5, 5}, {2, 8}};
  const auto all = counts_of({"english", "code", "turkish"}, {0, 1, 2, 0, 1, 2}, rows);
  const auto alone =
      counts_of({"turkish", "english"}, {1, 0, 1, 0}, {{9, 1}, {1, 9}, {8, 2}, {2, 8}});
  const auto chosen = specialisation(all, {"turkish", "english"});
  const auto expected = specialisation(alone);
  EXPECT_EQ(chosen.domains, (std::vector<std::string>{"turkish", "english"}));
  EXPECT_EQ(chosen.rows, 4);
  EXPECT_EQ(chosen.layers[0].counts_DE, expected.layers[0].counts_DE);
  EXPECT_EQ(chosen.layers[0].normalised, expected.layers[0].normalised);
  EXPECT_EQ(chosen.layers[0].percentile_99, expected.layers[0].percentile_99);
  EXPECT_EQ(chosen.layers[0].p_value, expected.layers[0].p_value);
}

TEST(Specialisation, OfASingleDomainIsItsLoadAlone) {
  const auto found = specialisation(counts_of({"a"}, {0, 0}, {{6, 1, 1}, {2, 1, 1}}));
  const auto& layer = found.layers.front();
  EXPECT_NEAR(layer.load_E[0], 8.0 / 12, 1e-12);
  EXPECT_EQ(layer.normalised, 0);
  EXPECT_EQ(layer.p_value, 1);
  EXPECT_FALSE(layer.above);
}

TEST(Specialisation, RefusesWhatItCannotTest) {
  const auto counts = random_counts(1, 4, 2, false);
  EXPECT_ERROR(specialisation(counts, {"a"}), "at least two domains");
  EXPECT_ERROR(specialisation(counts, {"a", "a"}), "'a' twice");
  EXPECT_ERROR(specialisation(counts, {"a", "bb"}), "bb");
  EXPECT_ERROR(specialisation(counts, {}, {.permutations = 0}), "permutations in [1, 1000000]");
}

}  // namespace
}  // namespace moe::analyze
