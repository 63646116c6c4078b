// Which tokens a term looks at together, against plain loops. T tokens, E experts.
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <tests/balance/fixtures.h>
#include <tests/support/message_of.h>

#include <ATen/ops/cat.h>

#include <moe/balance/measure.h>
#include <moe/balance/terms.h>

namespace moe::balance::scopes_test {

namespace {

using moe::test::expect_gradients;
using namespace moe::test::balance;
using Row = std::vector<double>;

const std::vector<std::string> kScoped = {"squared_deviation", "absolute_deviation", "entropy",
                                          "importance", "load"};

double variation(const Row& values) {
  const double n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double variance = 0;
  for (const double value : values) variance += (value - mean) * (value - mean) / n;
  return variance / (mean * mean);
}

/// The term `kind` of tokens begin .. end by loops.
double naive(const std::string& kind, const Routing& routing, int64_t begin, int64_t end) {
  Row mean(kExperts), load(kExperts);
  for (int64_t t = begin; t < end; ++t) {
    Row logits;
    for (int64_t e = 0; e < kExperts; ++e) {
      mean[static_cast<size_t>(e)] +=
          routing.scores_TE[t][e].item<double>() / static_cast<double>(end - begin);
      logits.push_back(routing.logits_TE[t][e].item<double>());
    }
    for (size_t e = 0; e < kExperts; ++e) {
      Row others = logits;
      others.erase(others.begin() + static_cast<int64_t>(e));
      std::sort(others.rbegin(), others.rend());
      const double deviations = (logits[e] - others[kChoices - 1]) * kExperts;  // std 1/E
      load[e] += 0.5 * std::erfc(-deviations / std::sqrt(2.0));
    }
  }
  if (kind == "load") return variation(load);
  if (kind == "importance") return variation(mean);
  double out = 0;
  for (const double p : mean) {
    const double off = p - 1.0 / kExperts;
    out += kind == "entropy"              ? p * std::log(p)
           : kind == "absolute_deviation" ? std::abs(off)
                                          : off * off;
  }
  return out;
}

TEST(Scopes, EqualTheFormulaOverTheirTokens) {
  const Routing routing = routing_of(logits_of(7, 12));
  for (const auto& kind : kScoped) {
    SCOPED_TRACE(kind);
    EXPECT_NEAR(value_of(*make(kind), routing).item<double>(), naive(kind, routing, 0, 12), 1e-12);
    const auto by_row = make(kind, setting("scope", "sequence"));
    for (const std::vector<int64_t>& lengths :
         {std::vector<int64_t>{3, 3, 3, 3}, {1, 7, 4}, {0, 5, 0, 7}}) {
      double total = 0, rows = 0;
      int64_t begin = 0;
      for (const int64_t length : lengths) {
        if (length > 0) total += naive(kind, routing, begin, begin + length), ++rows;
        begin += length;
      }
      EXPECT_NEAR(value_of(*by_row, routing, rows_of(lengths)).item<double>(), total / rows, 1e-12);
    }
    EXPECT_EQ(value_of(*by_row, routing_of(logits_of(7, 0)), rows_of({0, 0})).item<double>(), 0);
  }
}

TEST(Scopes, SequencesAreDifferentiableAndAddUpOverRanks) {
  const Tensor logits_TE = logits_of(6, 9);
  for (const auto& kind : kScoped) {
    SCOPED_TRACE(kind);
    const auto term = make(kind, setting("scope", "sequence"));
    for (const LayerContext& context : {rows_of({3, 3}), rows_of({1, 0, 5})})
      expect_gradients([&](const auto& in) { return value_of(*term, routing_of(in[0]), context); },
                       {logits_of(8)});
    const Tensor left = term->sums({routing_of(logits_TE.slice(0, 0, 3)), rows_of({3})});
    const Tensor right = term->sums({routing_of(logits_TE.slice(0, 3, 9)), rows_of({2, 4})});
    EXPECT_NEAR(term->value(left + right, {}).item<double>(),
                value_of(*term, routing_of(logits_TE), rows_of({3, 2, 4})).item<double>(), 1e-12);
  }
}

/// What the layer reports of the micro-batches of a step, one after the other.
std::vector<BalanceReport> over_micro_batches(const std::string& kind, const Table& settings,
                                              const std::vector<Tensor>& logits) {
  SumsSoFar so_far;
  std::vector<BalanceReport> out;
  for (const Tensor& logits_TE : logits) {
    LayerContext context;
    context.sums_so_far = so_far;
    out.push_back(measure({{kind, 1, make(kind, settings)}}, {routing_of(logits_TE), context},
                          *parallel::local()));
    const auto& report = out.back();
    const Tensor& sums = report.terms[0].sums;
    if (!sums.defined()) continue;
    if (so_far.terms.empty())
      so_far = {{sums}, report.tokens};
    else
      so_far = {{so_far.terms[0] + sums}, so_far.tokens + report.tokens};
  }
  return out;
}

TEST(Scopes, GlobalIsOverAllMicroBatchesOfTheStepSoFar) {
  const Tensor all_TE = logits_of(9, 12);
  for (const auto& kind : kScoped) {
    SCOPED_TRACE(kind);
    const auto reports =
        over_micro_batches(kind, setting("scope", "global"),
                           {all_TE.slice(0, 0, 3), all_TE.slice(0, 3, 7), all_TE.slice(0, 7, 12)});
    const Routing routing = routing_of(all_TE);
    for (const auto& [batch, end] : {std::pair{0, 3}, {1, 7}, {2, 12}})
      EXPECT_NEAR(reports[static_cast<size_t>(batch)].terms[0].value.item<double>(),
                  naive(kind, routing, 0, end), 1e-12);
  }
}

TEST(Scopes, GlobalGradientIsThatOfTheMeanOverTheStepAtThisBatchsWeight) {
  // d/dl of f((S + s(l)) / (T + t)) at the size of a batch: (T + t) / t times that of the formula.
  const Tensor before_TE = logits_of(9, 4);
  for (const auto& kind : kScoped) {
    SCOPED_TRACE(kind);
    const Table settings = setting("scope", "global");
    Tensor mine_TE = logits_of(10, 2).set_requires_grad(true);
    const auto reports = over_micro_batches(kind, settings, {before_TE, mine_TE});
    reports[1].terms[0].value.backward();
    Tensor all_TE = at::cat({before_TE, mine_TE.detach()}).set_requires_grad(true);
    value_of(*make(kind), routing_of(all_TE)).backward();
    moe::test::expect_close(mine_TE.grad(), all_TE.grad().slice(0, 4) * 3, 1e-12);
  }
}

TEST(Scopes, OthersForgetTheMicroBatchesBefore) {
  const Tensor all_TE = logits_of(9, 12);
  for (const auto& kind : kScoped) {
    const auto reports =
        over_micro_batches(kind, Table(), {all_TE.slice(0, 0, 3), all_TE.slice(0, 3, 12)});
    EXPECT_FALSE(reports[0].terms[0].sums.defined());
    EXPECT_NEAR(reports[1].terms[0].value.item<double>(),
                value_of(*make(kind), routing_of(all_TE.slice(0, 3, 12))).item<double>(), 1e-12);
  }
}

TEST(Scopes, RefuseOthers) {
  for (const auto& kind : kScoped)
    EXPECT_ERROR(make(kind, setting("scope", "step")), "one of batch, sequence, global");
}

}  // namespace

}  // namespace moe::balance::scopes_test
