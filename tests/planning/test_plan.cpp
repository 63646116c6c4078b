// Layouts: which there are, and what one of them costs against sums written out again by hand.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include <moe/planning/plan.h>

#include "tests/support/message_of.h"

namespace moe::test {
namespace {

using planning::Layout;
using planning::LayoutPlan;
using planning::Workload;

/// Two MoE layers of 8 experts among three blocks, in round numbers.
Workload round_workload() {
  Workload out;
  out.batch = 32, out.sequence = 100, out.accumulation = 2;
  out.replicated = {.weights = 40e6, .gradients = 36e6, .moments = 72e6};
  for (const int64_t layer : {0, 2})
    out.layers.push_back({.layer = layer,
                          .experts = 8,
                          .pairs_per_token = 2,
                          .width = 500,
                          .state = {.weights = 3e6, .gradients = 3e6, .moments = 6e6},
                          .flops_per_pair = 1.5e6,
                          .kept_per_pair = 1000});
  out.blocks = {{.all = 8000, .without_moe = 5000, .input = 2000, .experts = 0},
                {.all = 7000, .without_moe = 7000, .input = 2000},
                {.all = 8000, .without_moe = 5000, .input = 2000, .experts = 1}};
  out.flops_per_token = 20e6;
  out.hidden_bytes = 4000, out.logits_bytes = 50000, out.most_logits_bytes = 1e6;
  return out;
}

cluster::Cluster round_cluster(int64_t nodes, int64_t ranks_per_node) {
  return {.nodes = nodes,
          .ranks_per_node = ranks_per_node,
          .rank = {.float32 = 1e11, .memory = 1e9, .memory_bandwidth = 1e10},
          .inside = {.latency = 1e-6, .bandwidth = 1e10},
          .between = {.latency = 1e-5, .bandwidth = 1e9}};
}

TEST(Plan, OneRankByHand) {
  const auto plan = planning::evaluate(round_workload(), round_cluster(1, 1), {});
  EXPECT_DOUBLE_EQ(plan.memory.state.weights, 40e6 + 2 * 8 * 3e6);
  EXPECT_DOUBLE_EQ(plan.memory.state.gradients, 36e6 + 2 * 8 * 3e6);
  EXPECT_DOUBLE_EQ(plan.memory.state.moments, 72e6 + 2 * 8 * 6e6);
  // 3200 tokens; 6400 pairs of 1000 floats in two layers.
  EXPECT_DOUBLE_EQ(plan.memory.activations,
                   3200 * 23000.0 + 2 * 6400 * 4000.0 + 3200 * 4000.0 + 1e6);
  EXPECT_EQ(plan.memory.exchange, 0);
  EXPECT_DOUBLE_EQ(plan.time.dense, 2 * 3 * 3200 * 20e6 / 1e11);
  EXPECT_DOUBLE_EQ(plan.time.experts, 2 * 2 * 3 * 6400 * 1.5e6 / 1e11);
  EXPECT_EQ(plan.time.exchange + plan.time.gradients + plan.time.sums, 0);
  EXPECT_DOUBLE_EQ(plan.time.optimizer, (2 * 88e6 + 84e6 + 2 * 168e6) / 1e10);
  EXPECT_EQ(plan.inside_bytes + plan.between_bytes, 0);
  EXPECT_EQ(plan.rows, 32);
}

TEST(Plan, FourRanksByHand) {
  // Two nodes of two ranks; two share experts, so exchanges stay inside a node.
  const auto work = round_workload();
  const auto c = round_cluster(2, 2);
  const auto plan = planning::evaluate(work, c, {.experts = 2, .data = 2});
  EXPECT_EQ(plan.rows, 8);
  const double tokens = 800, pairs = 1600;
  EXPECT_DOUBLE_EQ(plan.memory.state.weights, 40e6 + 2 * 4 * 3e6);
  // Rows that came and that went back are kept too.
  EXPECT_DOUBLE_EQ(plan.memory.activations,
                   tokens * 23000 + 2 * pairs * 2000 * 4 + tokens * 4000 + 1e6);
  EXPECT_DOUBLE_EQ(plan.memory.exchange, 2 * pairs * 500 * 4 + 2 * (16 << 20));
  // Half of each rank's rows goes to the other.
  const double rows = 1e-6 + pairs * 500 * 4 / 2 / 1e10, numbers = 1e-6 + pairs * 8 / 2 / 1e10,
               counts = 1e-6 + 8 * 8 / 2 / 1e10;
  EXPECT_NEAR(plan.time.exchange / (2 * 2 * (counts + numbers + 4 * rows)), 1, 1e-12);
  EXPECT_NEAR(plan.time.experts / (2 * 2 * 3 * pairs * 1.5e6 / 1e11), 1, 1e-12);
  // 36 MB in three buckets: half of each inside a node, there and back, then half of the rest to
  // the other node; 24 MB of experts between two pairs of ranks in two buckets, both over the
  // node's link, in one round.
  const double dense = 3 * (2 * (1e-6 + 1e-5) + 12e6 / 1e10 + 12e6 / 1e9),
               experts = 2 * (1e-5 + 2 * 12e6 / 1e9);
  EXPECT_NEAR(plan.time.gradients / (dense + experts), 1, 1e-12);
  // Bytes: exchanges inside, gradients between.
  const double exchanged = 2 * 2 * (32 + pairs * 4 + 4 * pairs * 1000);
  EXPECT_NEAR(plan.inside_bytes, exchanged + 36e6, 4000);
  EXPECT_NEAR(plan.between_bytes, 36e6 + 2 * 24e6, 4000);
}

TEST(Plan, Zero1SharesOutMoments) {
  const auto work = round_workload();
  const auto c = round_cluster(2, 2);
  const auto whole = planning::evaluate(work, c, {.experts = 2, .data = 2}),
             parts = planning::evaluate(work, c, {.experts = 2, .data = 2, .zero1 = true});
  EXPECT_DOUBLE_EQ(whole.memory.state.moments, 72e6 + 2 * 4 * 6e6);
  EXPECT_DOUBLE_EQ(parts.memory.state.moments, 72e6 / 4 + 2 * 4 * 6e6 / 2);
  EXPECT_EQ(parts.memory.state.weights, whole.memory.state.weights);
  EXPECT_LT(parts.time.optimizer, whole.time.optimizer);
}

TEST(Plan, UnevenExpertsCountTheRankThatHasMost) {
  auto work = round_workload();
  for (auto& layer : work.layers) layer.experts = 7;
  const auto plan = planning::evaluate(work, round_cluster(1, 4), {.experts = 4, .data = 1});
  EXPECT_DOUBLE_EQ(plan.memory.state.weights, 40e6 + 2 * 2 * 3e6);
  // More ranks than rows: some have none, the others one.
  work.batch = 3;
  EXPECT_EQ(planning::evaluate(work, round_cluster(1, 4), {.experts = 4, .data = 1}).rows, 1);
}

TEST(Plan, SmallerNumbersAndChunksMakeExchangesShorter) {
  const auto work = round_workload();
  const auto c = round_cluster(4, 1);
  const Layout plain{.experts = 4, .data = 1};
  Layout half = plain, chunked = plain;
  half.exchange_bytes = 2, chunked.chunks = 4;
  const auto a = planning::evaluate(work, c, plain), b = planning::evaluate(work, c, half),
             d = planning::evaluate(work, c, chunked);
  EXPECT_LT(b.time.exchange, a.time.exchange);
  EXPECT_LT(b.between_bytes, a.between_bytes);
  EXPECT_LT(d.time.exchange, a.time.exchange);
  EXPECT_GE(d.time.exchange, 0);
  // What chunks cost where messages are so short that latency is all.
  auto slow = c;
  slow.between.latency = 1;
  EXPECT_GT(planning::evaluate(work, slow, chunked).time.exchange,
            planning::evaluate(work, slow, plain).time.exchange);
}

TEST(Plan, ListsEveryLayoutOnce) {
  const auto work = round_workload();
  // W = 6: P of 1, 2, 3, 6; with and without zero1; four chunks, two widths where P > 1.
  const auto layouts = planning::layouts_of(work, round_cluster(3, 2));
  EXPECT_EQ(layouts.size(), 2u * (1 + 3 * 4 * 2));
  for (const auto& layout : layouts) EXPECT_EQ(layout.experts * layout.data, 6);
  EXPECT_EQ(planning::layouts_of(work, round_cluster(1, 1)).size(), 1u);
  // No more ranks share a layer than it has experts.
  for (const auto& layout : planning::layouts_of(work, round_cluster(8, 8)))
    EXPECT_LE(layout.experts, 8);
  auto half = work;
  half.dtype = "bfloat16", half.number_bytes = 2;
  EXPECT_EQ(planning::layouts_of(half, round_cluster(3, 2)).size(), 2u * (1 + 3 * 4));
}

TEST(Plan, SixteenThousandRanksAreFewLayouts) {
  auto work = round_workload();
  work.batch = 1 << 20;
  for (auto& layer : work.layers) layer.experts = 1 << 14;
  for (int64_t nodes = 1; nodes <= 2048; nodes *= 2) {
    const auto plan = planning::make_plan(work, round_cluster(nodes, 8));
    EXPECT_LE(plan.evaluated(), 15u * 2 * 4 * 2);
    EXPECT_EQ(plan.evaluated(), planning::layouts_of(work, round_cluster(nodes, 8)).size());
  }
}

TEST(Plan, PutsTheFastestThatFitFirst) {
  auto c = round_cluster(4, 2);
  const auto work = round_workload();
  const auto all = planning::make_plan(work, c);
  EXPECT_TRUE(all.too_large.empty());
  ASSERT_FALSE(all.fits.empty());
  for (size_t i = 1; i < all.fits.size(); ++i)
    EXPECT_LE(all.fits[i - 1].time.total(), all.fits[i].time.total());
  // With less memory fewer fit, in the same order.
  size_t before = all.fits.size();
  for (double memory = 300e6; memory > 50e6; memory *= 0.8) {
    c.rank.memory = memory;
    const auto plan = planning::make_plan(work, c);
    EXPECT_EQ(plan.evaluated(), all.evaluated());
    EXPECT_LE(plan.fits.size(), before);
    before = plan.fits.size();
    for (const auto& fits : plan.fits) EXPECT_LE(fits.memory.total(), memory);
    for (const auto& large : plan.too_large) {
      EXPECT_GT(large.memory.total(), memory);
      EXPECT_GE(large.memory.total(), plan.too_large.front().memory.total());
    }
  }
  EXPECT_EQ(before, 0u);
  EXPECT_PRED2(contains, planning::why_too_large(all.fits.front(), 1e3), "alone take");
  EXPECT_PRED2(contains,
               planning::why_too_large(all.fits.front(), all.fits.front().memory.total() - 1),
               "are needed of");
}

TEST(Plan, IsMonotonous) {
  const auto work = round_workload();
  const auto c = round_cluster(2, 4);
  const auto step = [&](const Workload& w, const cluster::Cluster& on, double imbalance = 1) {
    std::vector<double> out;
    for (const auto& layout : planning::layouts_of(w, on))
      out.push_back(planning::evaluate(w, on, layout, {.imbalance = imbalance}).time.total());
    return out;
  };
  const auto base = step(work, c);
  const auto compare = [&](const std::vector<double>& other, bool slower) {
    ASSERT_EQ(other.size(), base.size());
    for (size_t i = 0; i < base.size(); ++i) {
      if (slower) {
        EXPECT_GE(other[i], base[i]);
      } else {
        EXPECT_LE(other[i], base[i]);
      }
    }
  };
  auto changed = c;
  changed.between.bandwidth *= 2;
  compare(step(work, changed), false);
  changed = c, changed.inside.latency *= 2;
  compare(step(work, changed), true);
  changed = c, changed.rank.float32 *= 2;
  compare(step(work, changed), false);
  changed = c, changed.rank.efficiency = 0.5;
  compare(step(work, changed), true);
  changed = c, changed.bisection = 1e8;
  compare(step(work, changed), true);
  auto more = work;
  more.batch *= 2;
  compare(step(more, c), true);
  more = work, more.accumulation *= 2;
  compare(step(more, c), true);
  compare(step(work, c, 1.5), true);
}

TEST(Plan, RefusesWhatCannotBe) {
  const auto work = round_workload();
  EXPECT_ERROR(planning::evaluate(work, round_cluster(2, 2), {.experts = 3, .data = 1}),
               "expected experts x data to be the 4 ranks of the cluster, got 3 x 1");
  EXPECT_ERROR(planning::make_plan(work, round_cluster(1, 1), {.imbalance = 0.5}),
               "in [1, 1e6], got 0.5");
  EXPECT_ERROR(planning::make_plan(work, round_cluster(1, 1), {.imbalance = NAN}), "got nan");
  EXPECT_ERROR(planning::make_plan(work, round_cluster(1, 1), {.chunks = {0}}),
               "chunks in [1, 1024], got 0");
  EXPECT_ERROR(planning::make_plan(work, round_cluster(1, 1), {.chunks = {}}), "got 0");
}

}  // namespace
}  // namespace moe::test
