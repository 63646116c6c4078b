// The whole trainer in layouts of ranks, experts × data, with and without shared optimizer state,
// against one rank. Ranks are threads. E experts.
#include <filesystem>

#include <moe/config/toml.h>
#include <moe/train/optimizer.h>

#include "tests/support/forwarding_group.h"
#include "tests/support/message_of.h"
#include "tests/train/rank_runs.h"
#include "tests/train/tiny_bench.h"

namespace moe::test::layouts_test {
namespace {

/// W ranks, of which groups of X share the experts; whether the optimizer's state is shared out;
/// in how many chunks rows travel; whether gradients do during the backward pass.
struct Arrangement {
  int64_t ranks = 1;
  int64_t experts = 0;
  bool shared_out = false;
  int64_t chunks = 1;
  bool overlap = false;

  std::string name() const {
    return concat(experts, "x", ranks / experts, shared_out ? "_shared_out" : "",
                  chunks == 1 ? "" : concat("_chunks_", chunks), overlap ? "_overlap" : "");
  }
};

/// What a run is made of, by name.
struct Work {
  std::string name;
  std::string optimizer = "adamw";
  int64_t num_experts = 8;
  std::string exchange = "full";
};

std::vector<Work> works() {
  return {{"adamw"},
          {"muon", "muon"},
          {"five_experts", "adamw", 5},
          {"two_experts", "muon", 2},
          {"terms_on_weights", "adamw", 5},
          {"modules", "adamw", 5},
          {"int8", "adamw", 8, "int8"},
          {"float8", "adamw", 5, "float8"},
          {"bfloat16", "adamw", 5, "bfloat16"},
          {"recomputed"},
          {"restarts"}};
}

const Work& work_called(const std::string& name) {
  static const auto all = works();
  return *std::ranges::find_if(all, [&](const Work& work) { return work.name == name; });
}

train::RunOptions options_of(const Work& work, const Path& folder) {
  auto run = run_of_ranks(folder, work.optimizer);
  run.train.batch = 6;  // not one a rank of 8
  run.parallel.exchange = work.exchange;
  if (work.name == "recomputed") run.train.recompute = "blocks";
  if (work.name == "restarts") {
    restart_idle_experts(run);
    return run;
  }
  if (work.num_experts == 8) return run;
  run.train.optimizer.groups = {
      {.match = "layers.1.moe.experts", .experts = {1}, .lr_factor = 0.5}};
  change_model(run, [&](auto& model) {
    auto& moe = model.uniform.moe;
    moe.num_experts = work.num_experts;
    if (work.name == "terms_on_weights") moe.balance = terms_on_weights();
    if (work.name == "modules") take_modules(moe);
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
  train::RunOptions options(const Work& work) {
    auto& out = options_[work.name];
    if (!out) out = options_of(work, folder_.path());
    return *out;
  }
  Path run(const Work& work) {
    const Path path = folder_.path() / work.name;
    if (!std::filesystem::exists(path)) start_on(1, options(work), path);
    return path;
  }

 private:
  TemporaryFolder folder_;
  std::map<std::string, std::optional<train::RunOptions>> options_;
};

train::RunOptions arranged(const Work& work, const Arrangement& arrangement) {
  auto out = OneRank::made().options(work);
  out.parallel.experts = arrangement.experts;
  out.parallel.shard_optimizer = arrangement.shared_out;
  out.parallel.chunks = arrangement.chunks;
  out.parallel.overlap_gradients = arrangement.overlap;
  return out;
}

struct Case {
  std::string work;
  Arrangement arrangement;
};

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const Arrangement& one : std::vector<Arrangement>{
           {2, 1}, {2, 2, true}, {3, 1, true}, {4, 2}, {4, 2, true}, {6, 3, true}, {8, 4, true}})
    out.push_back({"adamw", one});
  for (const Arrangement& one :
       std::vector<Arrangement>{{2, 1}, {3, 3, true}, {4, 2, true}, {6, 2, true}})
    out.push_back({"muon", one});
  out.push_back({"adamw", {3, 3}});
  out.push_back({"adamw", {6, 2}});
  out.push_back({"adamw", {8, 8}});
  out.push_back({"adamw", {8, 1, true}});
  out.push_back({"five_experts", {3, 3}});
  out.push_back({"five_experts", {6, 2, true}});
  out.push_back({"two_experts", {4, 4}});
  out.push_back({"two_experts", {8, 4, true}});
  out.push_back({"terms_on_weights", {4, 2}});
  out.push_back({"terms_on_weights", {6, 6}});
  out.push_back({"modules", {3, 3}});
  out.push_back({"modules", {4, 2, true}});
  out.push_back({"modules", {6, 6}});
  // Chunks: as many as a rank has experts, more, and as measured.
  for (const Arrangement& one : std::vector<Arrangement>{{1, 1, false, 4},
                                                         {2, 2, false, 2},
                                                         {2, 2, false, 0},
                                                         {3, 3, false, 3, true},
                                                         {4, 4, true, 8, true},
                                                         {4, 2, false, 4, true}})
    out.push_back({"adamw", one});
  out.push_back({"muon", {3, 1, true, 1, true}});
  out.push_back({"five_experts", {3, 3, false, 2, true}});
  out.push_back({"two_experts", {4, 4, false, 2}});
  out.push_back({"modules", {3, 3, false, 2}});
  out.push_back({"recomputed", {4, 2, false, 2, true}});
  // Rows in fewer bits: those of one rank are rounded too.
  out.push_back({"int8", {2, 2}});
  out.push_back({"int8", {4, 2, false, 4, true}});
  out.push_back({"float8", {3, 3, false, 2}});
  out.push_back({"bfloat16", {4, 4}});
  out.push_back({"restarts", {4, 2, true}});
  out.push_back({"restarts", {3, 3}});
  return out;
}

class Layouts : public testing::TestWithParam<Case> {
 protected:
  Path path(const std::string& name) const { return folder_.path() / name; }
  TemporaryFolder folder_;
};

TEST_P(Layouts, TrainAsOneRankDoes) {
  const auto& [name, arrangement] = GetParam();
  const Work& work = work_called(name);
  const Path one = OneRank::made().run(work);
  start_on(arrangement.ranks, arranged(work, arrangement), path("run"));
  expect_same_run(path("run"), one);
}

INSTANTIATE_TEST_SUITE_P(Cases, Layouts, testing::ValuesIn(cases()), [](const auto& info) {
  return info.param.work + "_" + info.param.arrangement.name();
});

struct Move {
  std::string work;
  Arrangement from, to;
};

class MovedRuns : public testing::TestWithParam<Move> {
 protected:
  TemporaryFolder folder_;
};

TEST_P(MovedRuns, EndAsThoseThatStay) {
  const auto& [name, from, to] = GetParam();
  const Work& work = work_called(name);
  const Path one = OneRank::made().run(work), run = folder_.path() / "run";
  start_on(from.ranks, arranged(work, from), run, 10);
  resume_on(to.ranks, arranged(work, to), run);
  expect_same_run(run, one);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, MovedRuns,
    testing::Values(Move{"adamw", {4, 2, true}, {1, 1}}, Move{"adamw", {1, 1}, {6, 2, true}},
                    Move{"adamw", {3, 3}, {8, 2, true}}, Move{"muon", {6, 2, true}, {4, 4}},
                    Move{"muon", {2, 2}, {3, 1, true}}, Move{"five_experts", {3, 3, true}, {4, 2}},
                    Move{"two_experts", {4, 4}, {2, 1, true}},
                    Move{"modules", {4, 2, true}, {3, 3}}, Move{"modules", {6, 6}, {2, 1, true}}),
    [](const auto& info) {
      return info.param.work + "_" + info.param.from.name() + "_to_" + info.param.to.name();
    });

TEST(Layout, SeesTheWorkThatTheCasesAreFor) {
  const auto restarts = metric_lines(OneRank::made().run(work_called("restarts")));
  EXPECT_TRUE(std::ranges::any_of(restarts, [](const auto& line) {
    return line.dump().find("revived") != std::string::npos;
  })) << restarts.back();
}

TEST(Layout, MetricsSayWhatRowsLoseInFewerBits) {
  for (const char* name : {"int8", "float8", "bfloat16"}) {
    const auto lines = metric_lines(OneRank::made().run(work_called(name)));
    const auto& layer = lines.back().contains("eval") ? lines[lines.size() - 2]["layers"][1]
                                                      : lines.back()["layers"][1];
    for (const char* way : {"", "_backward"}) {
      const double cosine = layer[concat("exchange_cosine", way)],
                   error = layer[concat("exchange_error", way)];
      EXPECT_GT(cosine, 0.99) << name << way;
      EXPECT_LT(cosine, 1) << name << way;
      EXPECT_GT(error, 1e-4) << name << way;
      EXPECT_LT(error, 0.1) << name << way;
      // A small error e turns a row by about e.
      EXPECT_NEAR(2 * (1 - cosine), error * error, 0.3 * error * error) << name << way;
    }
  }
  const auto full = metric_lines(OneRank::made().run(work_called("adamw")));
  EXPECT_EQ(full.front().dump().find("exchange"), std::string::npos);
}

/// Counts the all-reduces of more numbers than statistics have.
class CountingGroup final : public ForwardingGroup {
 public:
  using ForwardingGroup::ForwardingGroup;
  void all_reduce(at::Tensor& values, parallel::Reduce reduce) override {
    if (values.numel() > 500) ++large;
    ForwardingGroup::all_reduce(values, reduce);
  }
  parallel::Started start_all_reduce(at::Tensor values, parallel::Reduce reduce) override {
    if (values.numel() > 500) ++large;
    return ForwardingGroup::start_all_reduce(std::move(values), reduce);
  }

  int64_t large = 0;
};

TEST(Layout, SendsGradientsOnceAStepHoweverManyMicroBatches) {
  const auto options = OneRank::made().options(work_called("adamw"));
  parallel::run_ranks(2, [&](const std::shared_ptr<parallel::Communicator>& world) {
    const auto counting = std::make_shared<CountingGroup>(world);
    const Bench bench(options);
    const auto model = models::make_model(options.model, 1, {.layout = {counting}});
    const auto parameters = parameters_of(*model);
    const auto rows = data::rank_rows(bench.source->rows(), world->rank(), world->size());
    std::vector<int64_t> large;
    for (const int64_t accumulation : {1, 4}) {
      std::vector<data::Batch> batches;
      for (int64_t micro = 0; micro < accumulation; ++micro)
        batches.push_back(bench.source->batch(0, micro, accumulation, rows));
      counting->large = 0;
      train::forward_backward(
          {.model = *model, .objective = *bench.objective, .layout = {counting}, .seed = 1},
          batches, 0, parameters);
      large.push_back(counting->large);
    }
    EXPECT_GT(large[0], 0);
    EXPECT_EQ(large[0], large[1]);
  });
}

TEST(Layout, OfThePageIsOneThatRunsTake) {
  const std::string page =
      read_file(real_files(), Path(MOE_SOURCE_DIR) / "docs" / "parallel.md", 1u << 20);
  const size_t begin = page.find("```toml\n") + 8, end = page.find("```", begin);
  ASSERT_NE(page.find("```toml\n"), std::string::npos);
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "page.toml") << page.substr(begin, end - begin);
  train::RunOptions options;
  read_fields(options, config::read_toml(folder.path() / "page.toml"), "");
  EXPECT_EQ(options.parallel.experts, 4);
  EXPECT_EQ(options.parallel.copies(), 0);
  EXPECT_TRUE(options.parallel.shard_optimizer);
  EXPECT_EQ(options.parallel.exchange, "bfloat16");
  EXPECT_EQ(options.parallel.chunks, 0);
  EXPECT_EQ(options.parallel.route, "machines");
  EXPECT_TRUE(options.parallel.overlap_gradients);
}

TEST(Layout, ThatTheRanksDoNotFillIsRefusedOnAllOfThem) {
  const TemporaryFolder folder;
  const auto start = [&](int64_t experts, const std::string& data) {
    auto options = OneRank::made().options(work_called("adamw"));
    options.parallel.experts = experts;
    options.parallel.data = data;
    return message_of([&] { start_on(4, options, folder.path() / "run"); });
  };
  EXPECT_PRED2(contains, start(3, "rest"),
               "to divide the 4 ranks of the run, got 3. Use one of 1, 2, 4");
  EXPECT_PRED2(contains, start(8, "rest"), "got 8");
  EXPECT_PRED2(contains, start(2, "1"), "to be the 4 ranks of the run, got 2 times 1");
  EXPECT_PRED2(contains, start(0, "3"), "parallel.data, the copies of all experts, to divide");
  EXPECT_PRED2(contains, start(0, "two"), "'parallel.data' to be \"rest\" or a number");
  EXPECT_PRED2(contains, start(-1, "rest"), "'parallel.experts' to be at least 0");
}

TEST(Layout, RefusesExchangesThatThereAreNot) {
  const auto refused = [](const auto& change) {
    parallel::ParallelOptions options;
    change(options);
    return message_of([&] { options.validate("parallel"); });
  };
  EXPECT_PRED2(contains, refused([](auto& o) { o.exchange = "int4"; }),
               "expected parallel.exchange to be one of full, bfloat16, float8, int8, got 'int4'");
  EXPECT_PRED2(contains, refused([](auto& o) { o.chunks = -1; }),
               "expected 'parallel.chunks' in [0, 1024], got -1");
  EXPECT_PRED2(contains, refused([](auto& o) { o.route = "machine"; }),
               "expected parallel.route to be one of direct, machines, got 'machine'. Did you mean "
               "'machines'?");
}

}  // namespace
}  // namespace moe::test::layouts_test
