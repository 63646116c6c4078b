// The auction against the exact assignment, and on scores that could make it run for ever. T
// tokens, E experts.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tests/support/gradcheck.h>

#include <moe/routing/balanced_assignment.h>

namespace moe::routing::balanced_assignment_test {

namespace {

using Scores = std::vector<float>;

Scores scores_of(int64_t tokens, int64_t experts, uint64_t seed, double scale = 1) {
  const at::Tensor drawn =
      (test::normal({tokens, experts}, seed) * scale).to(at::kFloat).contiguous();
  return {drawn.const_data_ptr<float>(), drawn.const_data_ptr<float>() + drawn.numel()};
}

std::vector<int64_t> loads(const std::vector<int64_t>& expert_T, int64_t experts) {
  std::vector<int64_t> out(static_cast<size_t>(experts));
  for (const int64_t e : expert_T) ++out.at(static_cast<size_t>(e));
  return out;
}

void expect_even(const std::vector<int64_t>& expert_T, int64_t tokens, int64_t experts) {
  ASSERT_EQ(static_cast<int64_t>(expert_T.size()), tokens);
  for (const int64_t load : loads(expert_T, experts)) {
    EXPECT_GE(load, tokens / experts);
    EXPECT_LE(load, (tokens + experts - 1) / experts);
  }
}

double total(const Scores& scores, const std::vector<int64_t>& expert_T, int64_t experts) {
  double sum = 0;
  for (size_t t = 0; t < expert_T.size(); ++t)
    sum += scores[t * static_cast<size_t>(experts) + static_cast<size_t>(expert_T[t])];
  return sum;
}

/// The largest sum with these loads: dynamic programming over how many places are taken.
double best_total(const Scores& scores, const std::vector<int64_t>& loads_E) {
  std::map<std::vector<int64_t>, double> best = {{loads_E, 0.0}};  // places left -> sum
  const size_t experts = loads_E.size();
  for (size_t t = 0; t < scores.size() / experts; ++t) {
    std::map<std::vector<int64_t>, double> next;
    for (const auto& [left, sum] : best)
      for (size_t e = 0; e < experts; ++e) {
        if (left[e] == 0) continue;
        auto rest = left;
        --rest[e];
        const double value = sum + scores[t * experts + e];
        const auto [found, fresh] = next.emplace(rest, value);
        if (!fresh) found->second = std::max(found->second, value);
      }
    best = std::move(next);
  }
  return best.begin()->second;
}

TEST(BalancedAssignment, IsAsGoodAsTheBestOne) {
  for (const auto& [T, E] :
       {std::pair<int64_t, int64_t>{6, 3}, {12, 4}, {13, 4}, {3, 5}, {20, 2}, {5, 1}, {15, 3}})
    for (uint64_t seed = 0; seed < 5; ++seed) {
      SCOPED_TRACE(testing::Message() << T << " tokens, " << E << " experts, seed " << seed);
      const Scores scores = scores_of(T, E, seed);
      const auto found = balanced_assignment(scores.data(), T, E, {.epsilon = 1e-4});
      expect_even(found, T, E);
      const double best = best_total(scores, loads(found, E));
      EXPECT_LE(total(scores, found, E), best + 1e-5);
      EXPECT_GE(total(scores, found, E), best - 1e-3);
    }
}

TEST(BalancedAssignment, IsWithinEpsilonOfTheBestOne) {
  constexpr int64_t T = 18, E = 3;
  for (uint64_t seed = 10; seed < 15; ++seed) {
    const Scores scores = scores_of(T, E, seed, 100);
    const auto found = balanced_assignment(scores.data(), T, E, {.epsilon = 0.02});
    expect_even(found, T, E);
    // The typical distance of a best of three normal numbers from their mean is below 2 deviations.
    EXPECT_GE(total(scores, found, E), best_total(scores, loads(found, E)) - T * 0.02 * 200);
  }
}

TEST(BalancedAssignment, EndsForAnyScores) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  for (const auto& [T, E] : {std::pair<int64_t, int64_t>{64, 8}, {65, 8}, {7, 8}, {1, 8}, {0, 8}}) {
    const auto size = static_cast<size_t>(T * E);
    std::vector<Scores> cases = {Scores(size, 0.0f), Scores(size, 1e30f),      Scores(size, nan),
                                 Scores(size, -inf), scores_of(T, E, 1, 1e30), scores_of(T, E, 2)};
    if (size > 0) {
      Scores huge = scores_of(T, E, 3), strange = scores_of(T, E, 4), same = huge;
      huge[size / 2] = 1e30f;
      for (size_t i = 0; i < size; i += 3) strange[i] = i % 2 ? nan : inf;
      for (size_t i = 0; i < size; ++i) same[i] = same[i % static_cast<size_t>(E)];  // equal rows
      cases.insert(cases.end(), {huge, strange, same});
    }
    for (size_t i = 0; i < cases.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "case " << i << ", " << T << " tokens");
      expect_even(balanced_assignment(cases[i].data(), T, E), T, E);
      // Without bids everything is given out at the end.
      expect_even(balanced_assignment(cases[i].data(), T, E, {.bids_per_token = 0}), T, E);
    }
  }
}

TEST(BalancedAssignment, LetsOneHugeScoreLeaveTheOthersTheirChoice) {
  constexpr int64_t T = 12, E = 3;
  Scores scores = scores_of(T, E, 7);
  scores[4 * E + 1] = 1e30f;
  const auto found = balanced_assignment(scores.data(), T, E, {.epsilon = 1e-3});
  EXPECT_EQ(found[4], 1);
  scores[4 * E + 1] = 50;  // wins as surely
  EXPECT_NEAR(total(scores, found, E), best_total(scores, loads(found, E)), 0.05);
}

TEST(BalancedAssignment, TakesNanForATokensWorstScore) {
  constexpr int64_t T = 4, E = 2;
  const float nan = std::nanf("");
  const Scores scores = {nan, 1, 1, nan, nan, 2, 3, nan};
  EXPECT_EQ(balanced_assignment(scores.data(), T, E), (std::vector<int64_t>{1, 0, 1, 0}));
}

}  // namespace

}  // namespace moe::routing::balanced_assignment_test
