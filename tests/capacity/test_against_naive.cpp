// Every policy against a list of claims gone through one by one, alone and on several ranks.
// T tokens, N pairs.
#include <tests/capacity/naive.h>
#include <tests/support/compare.h>

#include <moe/base/error.h>
#include <moe/parallel/threads.h>

namespace moe::capacity::against_naive_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using naive::numbers_of;
using naive::Trial;

constexpr uint64_t kTrials = 2400;

Capacity capacity_of(const Trial& t, int64_t ranks = 1) {
  return Capacity({.num_experts = t.routing.num_experts,
                   .choices = static_cast<double>(t.choices),
                   .ranks = ranks},
                  t.options);
}

std::string described(const Trial& t, uint64_t seed) {
  return concat("trial ", seed, ": T=", t.routing.tokens(), ", E=", t.routing.num_experts, ", ",
                t.groups.size(), " groups, ", t.options.order, ", ", t.options.overflow);
}

TEST(Capacity, EqualsItsNaiveTwinOnRandomRoutings) {
  std::map<std::string, int64_t> seen;
  for (uint64_t seed = 0; seed < kTrials; ++seed) {
    const Trial t = naive::trial(seed);
    SCOPED_TRACE(described(t, seed));
    const Routing got = capacity_of(t).apply(t.routing, t.context);
    const naive::Limited expected = naive::limited(t);
    ASSERT_EQ(numbers_of<int64_t>(got.experts_N), expected.experts);
    expect_close(got.weights_N, at::tensor(expected.weights, at::kDouble), 1e-12);
    expect_identical(got.offsets, t.routing.offsets);
    EXPECT_EQ(got.choices, t.routing.choices);

    const auto before = numbers_of<int64_t>(t.routing.experts_N);
    bool dropped = false, moved = false;
    for (size_t n = 0; n < before.size(); ++n) {
      dropped |= expected.experts[n] == t.routing.num_experts && before[n] != expected.experts[n];
      moved |= expected.experts[n] < t.routing.num_experts && before[n] != expected.experts[n];
    }
    const std::string policy = t.options.order + ' ' + t.options.overflow;
    seen[policy + " drops"] += dropped;
    seen[policy + " moves"] += moved;
    seen["T=0"] += t.routing.tokens() == 0;
    seen["T=1"] += t.routing.tokens() == 1;
    seen["K=E"] += t.routing.choices == t.routing.num_experts;
    seen["unequal groups and drops"] +=
        dropped && t.context.tokens.rows(t.routing.tokens()).equal_length() == 0;
    seen["noise and moves"] += t.routing.noisy_logits_TE.defined() && moved;
  }
  // The trials must have tried what they are there for.
  for (const auto& [what, times] : seen) {
    const bool possible = what.find("drop moves") == std::string::npos;
    EXPECT_GE(times, possible ? 20 : 0) << what;
  }
}

TEST(Capacity, EqualsItselfOnAnyNumberOfRanks) {
  const moe::test::WithThreads one_thread(1);
  std::vector<Trial> trials;
  std::vector<Routing> whole;
  for (uint64_t seed = 0; seed < kTrials; ++seed) {
    trials.push_back(naive::trial(seed));
    whole.push_back(capacity_of(trials.back()).apply(trials.back().routing, trials.back().context));
  }
  for (const int64_t ranks : {1, 2, 4}) {
    std::vector<std::vector<Routing>> parts(trials.size(), std::vector<Routing>(ranks));
    parallel::run_ranks(ranks, [&](const std::shared_ptr<parallel::Communicator>& group) {
      for (size_t i = 0; i < trials.size(); ++i) {
        const Trial& t = trials[i];
        // The groups before those of a rank.
        const auto before = [&](int64_t rank) {
          return t.groups.begin() + static_cast<int64_t>(t.groups.size()) * rank / ranks;
        };
        const std::vector<int64_t> mine(before(group->rank()), before(group->rank() + 1));
        const int64_t first = std::accumulate(t.groups.begin(), before(group->rank()), int64_t{0});
        const Routing part = naive::part_of(
            t.routing, first, first + std::accumulate(mine.begin(), mine.end(), int64_t{0}));
        LayerContext context = t.context;
        if (t.options.group_tokens == 0) context.tokens.sequences = Sequences::of_lengths(mine);
        context.tokens.first_token = part.first_token;
        parts[i][group->rank()] = capacity_of(t, ranks).apply(part, context);
      }
    });
    for (size_t i = 0; i < trials.size(); ++i) {
      SCOPED_TRACE(concat(described(trials[i], i), ", ", ranks, " ranks"));
      std::vector<Tensor> experts, weights;
      for (const Routing& part : parts[i]) {
        experts.push_back(part.experts_N);
        weights.push_back(part.weights_N);
      }
      expect_identical(at::cat(experts), whole[i].experts_N);
      expect_identical(at::cat(weights), whole[i].weights_N);
    }
  }
}

}  // namespace

}  // namespace moe::capacity::against_naive_test
