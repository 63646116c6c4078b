// Every term on several ranks: the value of all tokens and weights, gradients of the own ones.
// W ranks, T tokens, D width, E experts, F hidden.
#include <numeric>
#include <tests/balance/fixtures.h>
#include <tests/support/compare.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>

#include <moe/balance/measure.h>
#include <moe/parallel/threads.h>

namespace moe::balance::ranks_test {

namespace {

using moe::test::expect_close;
using moe::test::normal;
using namespace moe::test::balance;

constexpr int64_t T = 9, D = 5, F = 3;

/// How many tokens and experts a rank has.
struct Share {
  int64_t tokens, experts;
};

/// A term's value on one rank, and the gradients there.
struct Result {
  double value = 0;
  Tensor logits, router, experts;
};

Tensor gradient_of(const Tensor& leaf) {
  return leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
}

using Lengths = std::vector<int64_t>;

Result measure_on(const std::string& kind, const Table& settings, const Lengths& rows,
                  const std::vector<Share>& shares, parallel::Communicator& group) {
  Share first{0, 0}, own{0, 0};
  for (int64_t rank = 0; rank <= group.rank(); ++rank) {
    first = {first.tokens + own.tokens, first.experts + own.experts};
    own = shares[static_cast<size_t>(rank)];
  }
  const auto leaf = [](const Tensor& all, int64_t begin, int64_t count) {
    return all.slice(0, begin, begin + count).clone().set_requires_grad(true);
  };
  const Tensor logits_TE = leaf(logits_of(70, T), first.tokens, own.tokens);
  const Tensor router_ED = leaf(normal({kExperts, D}, 71), 0, kExperts);
  const Tensor experts_LFD = leaf(normal({kExperts, F, D}, 72), first.experts, own.experts);
  const LayerWeights weights{
      .router = {{"weight", router_ED, {.role = Role::kScores, .per_expert = true}}},
      .experts = {{"w_in",
                   experts_LFD,
                   {.role = Role::kMatrix, .per_expert = true, .first_expert = first.experts}}}};
  // Whole rows on every rank.
  std::vector<int64_t> lengths;
  int64_t begin = 0;
  for (const int64_t length : rows) {
    if (begin >= first.tokens && begin < first.tokens + own.tokens) lengths.push_back(length);
    begin += length;
  }
  LayerContext context{{.training = true}, {.sequences = Sequences::of_lengths(lengths)}};
  context.tokens.num_domains = kExperts;
  context.tokens.domains_T =
      at::arange(first.tokens, first.tokens + own.tokens, at::kLong).remainder(kExperts + 1) - 1;
  const Routing routing = routing_of(logits_TE);
  const Tensor value =
      measure({{kind, 1, make(kind, settings)}}, {routing, context, &weights}, group)
          .terms[0]
          .value;
  if (value.requires_grad()) value.backward();
  return {value.item<double>(), gradient_of(logits_TE), gradient_of(router_ED),
          gradient_of(experts_LFD)};
}

void expect_ranks_equal_one(const std::string& kind, const Table& settings = {},
                            const Lengths& rows = {3, 3, 3}) {
  const Result one = measure_on(kind, settings, rows, {{T, kExperts}}, *parallel::local());
  for (const std::vector<Share>& shares :
       {std::vector<Share>{{3, 2}, {6, 2}}, {{0, 1}, {9, 3}}, {{6, 2}, {0, 1}, {3, 1}}}) {
    SCOPED_TRACE(concat(kind, " on ", shares.size(), " ranks"));
    std::vector<Result> results(shares.size());
    parallel::run_ranks(static_cast<int64_t>(shares.size()), [&](const auto& group) {
      results[static_cast<size_t>(group->rank())] =
          measure_on(kind, settings, rows, shares, *group);
    });
    std::vector<Tensor> logits, experts;
    Tensor router = at::zeros_like(one.router);
    for (const Result& result : results) {
      EXPECT_NEAR(result.value, one.value, 1e-12 * (1 + std::abs(one.value)));
      logits.push_back(result.logits);
      experts.push_back(result.experts);
      router = router + result.router;
    }
    expect_close(at::cat(logits), one.logits, 1e-12, "logits");
    expect_close(at::cat(experts), one.experts, 1e-12, "experts");
    expect_close(router, one.router, 1e-12, "router");
  }
}

TEST(RanksOfTerms, GiveTheValueAndTheGradientsOfOne) {
  for (const std::string& kind : terms().names()) expect_ranks_equal_one(kind);
  expect_ranks_equal_one("switch", setting("scope", "sequence"));
  for (const std::string kind : {"switch", "sequence"})
    expect_ranks_equal_one(kind, kind == "switch" ? setting("scope", "sequence") : Table(),
                           {1, 2, 2, 1, 3});
  expect_ranks_equal_one("load", setting("form", "vmoe"));
  for (const std::string form : {"squared", "signed"}) {
    Table settings = setting("of", "experts");
    settings.set("form", form);
    expect_ranks_equal_one("orthogonality", settings);
  }
}

TEST(RanksOfTerms, LeaveNoTermWithoutGradient) {
  for (const std::string& kind : terms().names()) {
    const Result one = measure_on(kind, {}, {3, 6}, {{T, kExperts}}, *parallel::local());
    const Tensor all = at::cat({one.logits.flatten(), one.router.flatten(), one.experts.flatten()});
    EXPECT_GT(all.abs().sum().item<double>(), 0) << kind << ": the comparison would say nothing";
  }
}

}  // namespace

}  // namespace moe::balance::ranks_test
