// Runs whose experts lie where a file says, some on several ranks, against one rank. Ranks are
// threads. E experts, X ranks that share them.
#include <filesystem>
#include <numeric>

#include <moe/cluster/placement_file.h>
#include <moe/train/placement.h>

#include "tests/support/message_of.h"
#include "tests/train/rank_runs.h"
#include "tests/train/tiny_bench.h"

namespace moe::test::placed_runs_test {
namespace {

/// A run by name; of eight experts, but for "five" and what needs others.
train::RunOptions options_of(const std::string& work, const Path& folder) {
  auto run = run_of_ranks(folder, work == "muon" ? "muon" : "adamw");
  run.train.batch = 6;
  if (work == "adamw" || work == "muon") return run;
  if (work == "restarts") {
    restart_idle_experts(run);
    return run;
  }
  run.train.optimizer.groups = {
      {.match = "layers.1.moe.experts", .experts = {1}, .lr_factor = 0.5}};
  change_model(run, [&](auto& model) {
    auto& moe = model.uniform.moe;
    moe.num_experts = 5;
    if (work == "terms_on_weights") moe.balance = terms_on_weights();
    if (work == "widths") {
      moe.expert.kind = "mixed_widths";
      moe.expert.options.set("steps", int64_t{5});
      moe.expert.options.set("dropout", 0.1);
    }
    if (work == "modules") take_modules(moe);
  });
  return run;
}

/// Data of all runs, and runs of one rank to compare with, made once each.
class OneRank {
 public:
  static OneRank& made() {
    static OneRank out;
    return out;
  }
  train::RunOptions options(const std::string& work) {
    auto& out = options_[work];
    if (!out) out = options_of(work, folder_.path());
    return *out;
  }
  Path run(const std::string& work) {
    const Path path = folder_.path() / work;
    if (!std::filesystem::exists(path)) start_on(1, options(work), path);
    return path;
  }

 private:
  TemporaryFolder folder_;
  std::map<std::string, std::optional<train::RunOptions>> options_;
};

int64_t experts_of(const std::string& work) {
  if (work == "restarts") return 32;
  return work == "adamw" || work == "muon" ? 8 : 5;
}

/// Where the experts of a layer lie: "turns": each on the next rank; "last": all on the last ranks,
/// the first has none; "copies": some on several ranks, owner and copies anywhere; "hot": expert 0
/// on all ranks, and the first owns nothing.
cluster::PlacedLayer layer_of(const std::string& how, int64_t layer, int64_t E, int64_t X) {
  cluster::PlacedLayer out{.layer = layer};
  for (int64_t e = 0; e < E; ++e) {
    const int64_t turn = (5 * e + layer + 1) % X,
                  last = X - 1 - (e * e + layer) % std::max<int64_t>(X - 1, 1);
    out.rank_E.push_back(static_cast<int32_t>(how == "turns" || how == "copies" ? turn : last));
  }
  const auto copy = [&](int64_t expert, const std::vector<int64_t>& others) {
    cluster::Replica replica{.expert = expert, .ranks = {out.rank_E[static_cast<size_t>(expert)]}};
    for (const int64_t rank : others)
      if (rank != replica.ranks.front()) replica.ranks.push_back(static_cast<int32_t>(rank));
    if (replica.ranks.size() > 1) out.replicas.push_back(replica);
  };
  std::vector<int64_t> all(static_cast<size_t>(X));
  std::iota(all.begin(), all.end(), int64_t{0});
  if (how == "copies") {
    copy(1, {0, X - 1});
    copy(3, {X - 1});
    copy(E - 1, all);
  }
  if (how == "hot") copy(0, all);
  return out;
}

void write_placement(const Path& path, const std::string& how, int64_t E, int64_t X) {
  cluster::PlacementFile file{.ranks = X};
  for (const int64_t layer : {0, 1}) file.layers.push_back(layer_of(how, layer, E, X));
  std::ofstream(path) << cluster::write_placement(file);
}

/// W ranks, of which groups of X share experts that lie as `how` says, "" for in order; whether
/// the optimizer's state is shared out; in how many chunks rows travel, and whether gradients do
/// during the backward pass.
struct Arrangement {
  int64_t ranks = 1, experts = 0;
  std::string how = "";
  bool shared_out = false;
  int64_t chunks = 1;
  bool overlap = false;

  std::string name() const {
    return concat(experts, "x", ranks / experts, how.empty() ? "" : "_" + how,
                  shared_out ? "_shared_out" : "", chunks == 1 ? "" : concat("_chunks_", chunks),
                  overlap ? "_overlap" : "");
  }
};

class PlacedRuns : public testing::Test {
 protected:
  Path path(const std::string& name) const { return folder_.path() / name; }

  train::RunOptions arranged(const std::string& work, const Arrangement& to) const {
    auto out = OneRank::made().options(work);
    out.parallel.experts = to.experts;
    out.parallel.shard_optimizer = to.shared_out;
    out.parallel.chunks = to.chunks;
    out.parallel.overlap_gradients = to.overlap;
    if (!to.how.empty()) {
      out.parallel.placement = path(to.name() + ".json").string();
      write_placement(out.parallel.placement, to.how, experts_of(work), to.experts);
    }
    return out;
  }

  TemporaryFolder folder_;
};

struct Case {
  std::string work;
  Arrangement arrangement;
};

class EachPlacement : public PlacedRuns, public testing::WithParamInterface<Case> {};

TEST_P(EachPlacement, TrainsAsOneRankDoes) {
  const auto& [work, arrangement] = GetParam();
  const Path one = OneRank::made().run(work);
  start_on(arrangement.ranks, arranged(work, arrangement), path("run"));
  expect_same_run(path("run"), one);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, EachPlacement,
    testing::Values(Case{"adamw", {2, 2, "turns"}}, Case{"adamw", {3, 3, "last"}},
                    Case{"adamw", {4, 4, "copies"}}, Case{"adamw", {2, 2, "hot"}},
                    Case{"adamw", {4, 2, "copies", true}}, Case{"adamw", {3, 3, "copies", true}},
                    Case{"muon", {3, 3, "copies"}}, Case{"muon", {4, 2, "last", true}},
                    Case{"five", {4, 4, "hot"}}, Case{"five", {3, 3, "copies"}},
                    Case{"terms_on_weights", {3, 3, "copies"}},
                    Case{"terms_on_weights", {4, 2, "hot"}}, Case{"widths", {3, 3, "copies"}},
                    Case{"modules", {3, 3, "last"}}, Case{"modules", {4, 2, "turns", true}},
                    Case{"adamw", {3, 3, "copies", false, 3, true}},
                    Case{"adamw", {4, 2, "hot", true, 4, true}},
                    Case{"modules", {3, 3, "last", false, 2}}, Case{"restarts", {3, 3, "copies"}},
                    Case{"restarts", {4, 2, "hot", true}}),
    [](const auto& info) { return info.param.work + "_" + info.param.arrangement.name(); });

struct Move {
  std::string work;
  Arrangement from, to;
};

class EachMove : public PlacedRuns, public testing::WithParamInterface<Move> {};

TEST_P(EachMove, EndsAsARunThatStays) {
  const auto& [work, from, to] = GetParam();
  const Path one = OneRank::made().run(work);
  start_on(from.ranks, arranged(work, from), path("run"), 10);
  resume_on(to.ranks, arranged(work, to), path("run"));
  expect_same_run(path("run"), one);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, EachMove,
    testing::Values(Move{"adamw", {3, 3, "copies"}, {1, 1}}, Move{"adamw", {1, 1}, {4, 4, "hot"}},
                    Move{"adamw", {2, 2}, {2, 2, "turns"}}, Move{"adamw", {3, 3, "last"}, {3, 3}},
                    Move{"adamw", {4, 2, "copies", true}, {3, 3, "hot"}},
                    Move{"muon", {3, 3, "copies"}, {4, 2, "turns", true}},
                    Move{"modules", {3, 3, "last"}, {2, 2, "turns"}}),
    [](const auto& info) {
      return info.param.work + "_" + info.param.from.name() + "_to_" + info.param.to.name();
    });

TEST_F(PlacedRuns, StartFromTheWeightsOfAnotherModel) {
  auto options = arranged("five", {3, 3, "copies"});
  options.train.init = OneRank::made().run("five").string();
  auto alone = OneRank::made().options("five");
  alone.train.init = options.train.init;
  start_on(1, alone, path("alone"));
  start_on(3, options, path("run"));
  expect_same_run(path("run"), path("alone"));
}

cluster::PlacementFile file_of(int64_t E, int64_t X, const std::vector<int64_t>& layers,
                               const std::string& how = "turns") {
  cluster::PlacementFile out{.ranks = X};
  for (const int64_t layer : layers) out.layers.push_back(layer_of(how, layer, E, X));
  return out;
}

TEST_F(PlacedRuns, RefuseFilesOfOtherRunsOnAllRanks) {
  const auto refused_text = [&](const std::string& text, const std::string& work) {
    auto options = arranged(work, {3, 3, "turns"});
    std::ofstream(options.parallel.placement) << text;
    const std::string out = message_of([&] { start_on(3, options, path("run")); });
    EXPECT_FALSE(std::filesystem::exists(path("run")));
    return out;
  };
  const auto refused = [&](const cluster::PlacementFile& file, const std::string& work = "five") {
    return refused_text(cluster::write_placement(file), work);
  };
  const auto other_ranks = refused(file_of(5, 2, {0, 1}));
  EXPECT_PRED2(
      contains, other_ranks,
      "[parallel.placement] expected a placement for the 3 ranks that share the experts of "
      "a layer, got one for 2 in '");
  EXPECT_PRED2(contains, other_ranks, "moe place … --ranks 3; or leave parallel.placement out.");
  EXPECT_PRED2(contains, refused(file_of(8, 3, {0, 1})),
               "a rank for each of the 5 experts of layer 0, got 8 ranks");
  EXPECT_PRED2(contains, refused(file_of(5, 3, {1})),
               "a placement of layer 0, which has 5 experts, found none");
  EXPECT_PRED2(contains, refused(file_of(5, 3, {0, 1, 2})),
               "layers that have experts in this model (0, 1), got layer 2");
  auto beyond = cluster::write_placement(file_of(5, 3, {0, 1}));
  beyond.replace(beyond.find("\"rank_of_expert\":[") + 18, 1, "7");
  EXPECT_PRED2(contains, refused_text(beyond, "five"), "in [0, 2], got '7'");
  EXPECT_PRED2(contains, refused_text("{", "five"), "turns.json");
  EXPECT_PRED2(contains, refused(file_of(5, 3, {0, 1}, "copies"), "modules"),
               "expected each expert on one rank for modules of a user's own");
  auto options = arranged("five", {3, 3, "turns"});
  std::filesystem::remove(options.parallel.placement);
  EXPECT_PRED2(contains, message_of([&] { start_on(3, options, path("run")); }), "turns.json");
}

/// What the tokens of the first step choose in each layer.
std::vector<cluster::Traffic> traffic_of(const train::RunOptions& options) {
  const auto dataset = data::open_data(options.data, 1);
  const auto seed = static_cast<uint64_t>(options.train.seed);
  const auto source = dataset->training(options.train.batch, seed);
  const auto model = models::make_model(options.model, seed, {}, at::kCPU, at::kDouble);
  std::vector<cluster::TrafficBuilder> builders = {{0, 8}, {1, 8}};
  for (int64_t micro = 0; micro < options.train.accumulation; ++micro) {
    const auto batch = source->batch(0, micro, options.train.accumulation, {0, source->rows()});
    const auto out = model->forward(batch.inputs, {});
    for (size_t layer = 0; layer < 2; ++layer) {
      const Routing& routing = out.layers[layer].routing;
      for (int64_t t = 0; t < routing.tokens(); ++t) {
        std::vector<int32_t> chosen;
        for (int64_t n = routing.offsets[t].item<int64_t>();
             n < routing.offsets[t + 1].item<int64_t>(); ++n)
          chosen.push_back(routing.experts_N[n].item<int32_t>());
        builders[layer].add(chosen);
      }
    }
  }
  std::vector<cluster::Traffic> traffic;
  for (auto& builder : builders) traffic.push_back(std::move(builder).finish());
  return traffic;
}

/// The same tokens with the routers of the placement: rows on ranks are those predicted, but for
/// one row a copied expert, sender and micro-batch; what crosses ranks, which depends on whose the
/// tokens are, within 10 %.
TEST_F(PlacedRuns, SendTheRowsThatWerePredicted) {
  constexpr int64_t X = 4, kMicroBatches = 4;
  auto options = OneRank::made().options("adamw");
  change_model(options, [](auto& model) {
    model.uniform.dropout = 0;
    model.uniform.moe.router = {.kind = "topk"};
    model.uniform.moe.capacity = {};
  });
  options.train.steps = 1;
  options.train.batch = 8;
  options.train.accumulation = kMicroBatches;
  options.train.schedule.warmup = 0;
  options.train.eval_every = 0;
  const auto traffic = traffic_of(options);
  for (const std::string how : {"turns", "copies"}) {
    SCOPED_TRACE(how);
    auto file = file_of(8, X, {0, 1}, how);
    for (size_t i = 0; i < 2; ++i)
      file.layers[i].predicted =
          cluster::predict_rows(traffic[i], file.layers[i].rank_E, file.layers[i].replicas, X, X);
    options.parallel.placement = path(how + ".json").string();
    std::ofstream(options.parallel.placement) << cluster::write_placement(file);
    const auto summary = start_on(X, options, path(how));
    ASSERT_EQ(summary.exchange.layers.size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      const auto& layer = summary.exchange.layers[i];
      ASSERT_TRUE(layer.predicted.has_value());
      EXPECT_EQ(layer.layer, static_cast<int64_t>(i));
      EXPECT_EQ(layer.tokens, static_cast<double>(traffic[i].tokens()));
      EXPECT_EQ(layer.row_bytes, 16 * 8);
      const auto pairs = static_cast<double>(traffic[i].pairs());
      EXPECT_EQ(std::accumulate(layer.rows_X.begin(), layer.rows_X.end(), 0.0), pairs);
      const auto copied = static_cast<double>(file.layers[i].replicas.size());
      const double slack = how == "turns" ? 1e-9 : copied * X * kMicroBatches;
      EXPECT_NEAR(layer.busiest_rank() * pairs / X, layer.predicted->busiest_rank * pairs / X,
                  slack);
      EXPECT_NEAR(layer.a_token(layer.between_ranks) / layer.predicted->between_ranks, 1, 0.1);
      EXPECT_EQ(layer.between_machines, 0);
      EXPECT_EQ(layer.predicted->between_nodes, 0);
    }
    EXPECT_PRED2(contains, train::exchange_table(summary.exchange), "rows a token between ranks");
    const auto json = nlohmann::json::parse(
        read_file(real_files(), path(how) / "exchange.json", uint64_t{1} << 20));
    EXPECT_EQ(json["steps"], nlohmann::json({0, 1}));
    EXPECT_EQ(json["layers"][1]["bytes_between_ranks"],
              static_cast<int64_t>(summary.exchange.layers[1].between_ranks) * 128);
    EXPECT_EQ(json["layers"][1]["predicted"]["busiest_rank"],
              summary.exchange.layers[1].predicted->busiest_rank);
  }
  options.parallel.placement.clear();
  EXPECT_TRUE(start_on(1, options, path("alone")).exchange.layers.empty());
  EXPECT_FALSE(std::filesystem::exists(path("alone") / "exchange.json"));
}

}  // namespace
}  // namespace moe::test::placed_runs_test
