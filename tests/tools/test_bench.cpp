// moe bench: its arithmetic and what it prints. Never how long something takes.
// T tokens, D width, F hidden units, E experts, K choices.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/message_of.h"
#include "tests/support/python.h"
#include "tests/support/run_program.h"

namespace moe::test {
namespace {

using nlohmann::json;

json bench(std::vector<std::string> words) {
  words.insert(words.begin(), "bench");
  words.insert(words.end(), {"--threads", "1", "--repeat", "2", "--warmup", "0", "--json"});
  const auto result = run_program(words);
  EXPECT_EQ(result.status, 0) << result.err;
  return json::parse(result.out);
}

/// T = 64, D = 16, F = 32, E = 8, K = 2.
json small(const std::string& what, const std::vector<std::string>& more) {
  std::vector<std::string> words = {what, "--tokens", "64", "--d-model", "16", "--d-ff", "32"};
  words.insert(words.end(), more.begin(), more.end());
  return bench(words);
}

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(json::parse(line));
  return out;
}

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST(Bench, TheBoundIsTheLargerOfArithmeticAndMemory) {
  for (const std::string what : {"layer", "dense"})
    for (const std::string mode : {"forward", "train"})
      for (const std::string dtype : {"float32", "bfloat16"}) {
        const json found = small(what, {"--mode", mode, "--dtype", dtype});
        const int passes = mode == "train" ? 3 : 1, size = dtype == "float32" ? 4 : 2;
        // 3 D F weights an expert; all 8 are in use with 64 tokens; the dense block has K F units.
        const int64_t weights = 3 * 16 * 32 * (what == "layer" ? 8 : 2);
        const auto& bound = found["bound"];
        EXPECT_EQ(bound["moved_bytes"], passes * weights * size);
        const double memory =
            double(passes * weights * size) / 1e6 / found["limits"]["read_gb_s"].get<double>();
        EXPECT_NEAR(bound["memory_ms"].get<double>() / memory, 1, 1e-9);
        const double float32 = found["limits"]["float32_gflops"],
                     bfloat16 = found["limits"]["bfloat16_gflops"];
        const double peak = dtype == "bfloat16" && bfloat16 > 0 ? bfloat16 : float32;
        // T (K 3 D F + D E) multiply-adds with the router, without it for the dense block.
        const int64_t flops = passes * 2 * 64 * (2 * 3 * 16 * 32 + (what == "layer" ? 16 * 8 : 0));
        EXPECT_NEAR(bound["compute_ms"].get<double>() / (double(flops) / peak / 1e6), 1, 1e-9);
        const double ms = std::max(bound["compute_ms"].get<double>(), memory);
        EXPECT_NEAR(found["bound_ms"].get<double>() / ms, 1, 1e-9);
        EXPECT_NEAR(found["share_of_bound"].get<double>() * found["median_ms"].get<double>() / ms,
                    1, 1e-9);
      }
}

TEST(Bench, OnlyExpertsInUseMustMove) {
  const json one = bench({"layer", "--tokens", "1", "--d-model", "16", "--d-ff", "32"});
  EXPECT_EQ(one["work"]["shapes"]["experts_used"], 2);
  EXPECT_EQ(one["bound"]["moved_bytes"], 2 * 3 * 16 * 32 * 4);
}

TEST(Bench, SaysWhereItRanAndHowMuchItWaited) {
  const json found = small("layer", {});
  EXPECT_EQ(found["threads"], 1);
  EXPECT_EQ(found["samples"], 2);
  EXPECT_LE(found["retaken"], 2);
  EXPECT_EQ(found["cpu"], found["work"]["cpu"]);
  EXPECT_EQ(found["instruction_set"], found["work"]["instruction_set"]);
  if (std::filesystem::exists("/proc/self/schedstat")) {
    EXPECT_GE(found["cpu_wait"], 0);
  }
}

TEST(Bench, ATypeWithoutAPeakHasNoBound) {
  EXPECT_FALSE(small("layer", {"--dtype", "float64"}).contains("bound_ms"));
}

TEST(Bench, RoutingGoesWhereItIsAsked) {
  const auto spread = [](const std::string& routing, const std::string& top_k) {
    return bench({"layer", "--tokens", "256", "--d-model", "64", "--d-ff", "16", "--experts", "16",
                  "--top-k", top_k, "--routing", routing})["work"]["shapes"];
  };
  EXPECT_DOUBLE_EQ(spread("balanced", "2")["busiest_share"], 1. / 16);
  // Expert 0 is one of the choices of every token.
  EXPECT_DOUBLE_EQ(spread("one", "2")["busiest_share"], 0.5);
  EXPECT_EQ(spread("one", "2")["experts_used"], 16);
  EXPECT_DOUBLE_EQ(spread("one", "1")["busiest_share"], 1);
  EXPECT_EQ(spread("one", "1")["experts_used"], 1);
  // 1 / (1 + 1/2 + … + 1/16) = 0.296.
  EXPECT_NEAR(spread("zipf", "1")["busiest_share"].get<double>(), 0.296, 0.1);
  EXPECT_EQ(spread("one", "16")["experts_used"], 16);  // K = E
}

TEST(Bench, AnOptimizersBytesAreThoseOfNormAndUpdate) {
  const auto optimizer = [](std::vector<std::string> more) {
    std::vector<std::string> words = {"optimizer", "--d-model", "16", "--d-ff",
                                      "8",         "--experts", "4"};
    words.insert(words.end(), more.begin(), more.end());
    return bench(words);
  };
  const int64_t parameters = 4 * 3 * 16 * 8;
  for (const auto& [dtype, size] : {std::pair{"float32", 4}, {"float64", 8}}) {
    const json found = optimizer({"--dtype", dtype});
    EXPECT_EQ(found["parameters"], parameters);
    EXPECT_EQ(found["bytes"], 8 * size * parameters);
    EXPECT_NEAR(found["gb_per_second"].get<double>() * found["median_ms"].get<double>(),
                double(8 * size * parameters) / 1e6, 1e-9);
    EXPECT_NEAR(
        found["share_of_stream"].get<double>() * found["stream_gb_per_second"].get<double>(),
        found["gb_per_second"].get<double>(), 1e-9);
  }
  // The norm reads every gradient, experts without tokens are passed over.
  const json lazy = optimizer({"--kind", "lazy_adamw", "--idle", "3"});
  EXPECT_EQ(lazy["bytes"], (4 + 28 / 4) * parameters);
  EXPECT_EQ(optimizer({"--idle", "3"})["bytes"], 32 * parameters);
  const json muon = optimizer({"--kind", "muon", "--unclipped"});
  // 12 matrices (8, 16), five times x xᵀ (8 x 8), its square, and a product with x.
  EXPECT_EQ(muon["work"]["flops"], 12 * 5 * 2 * (8 * 8 * 16 + 8 * 8 * 8 + 8 * 8 * 16));
  EXPECT_GT(muon["share_of_products"].get<double>(), 0);
}

TEST(Bench, RefusesRoutingsItDoesNotHave) {
  const auto refused = [](std::vector<std::string> words, const std::string& part) {
    words.insert(words.begin(), {"bench"});
    const auto result = run_program(words);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_PRED2(contains, result.err, part);
  };
  refused({"layer", "--routing", "ziph"}, "Did you mean 'zipf'?");
  refused({"layer", "--routing", "one", "--router", "hash"}, "expected --router topk");
  refused({"layer", "--requests", "--warmup", "-1"}, "--warmup");
  refused({"suite", "--groups", "tabel"}, "Did you mean 'table'?");
  refused({"optimizer", "--kind", "adam"}, "Did you mean 'adamw'?");
  refused({"optimizer", "--experts", "4", "--idle", "4"}, "expected --idle in [0, --experts=4)");
  refused({"optimizer", "--dtype", "bfloat16"}, "expected --dtype");
  refused({"suite", "--smaller", "0"}, "--smaller");
  refused({"suite", "--seconds", "0"}, "--seconds");
  refused({"suite", "--repeat", "0"}, "--repeat");
  refused({"suite", "--out", "/nowhere/bench.jsonl"}, "[--out]");
  refused({"report", "/nowhere/bench.jsonl"}, "/nowhere/bench.jsonl");
  refused({"report"}, "RESULTS.jsonl");
}

TEST(Bench, AnswersRequestsOneByOne) {
  const auto result = run_program({"bench", "layer", "--tokens", "8", "--d-model", "16", "--d-ff",
                                   "16", "--threads", "1", "--requests"},
                                  "\n\n\n");
  ASSERT_EQ(result.status, 0) << result.err;
  const auto lines = lines_of(result.out);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0]["ready"], true);
  EXPECT_GT(lines[0]["bound_ms"], 0);
  for (size_t i = 1; i < 4; ++i) EXPECT_GT(lines[i]["ms"], 0);
}

/// The whole suite, as small as it gets; once for all tests.
const ProgramResult& small_suite(const std::filesystem::path& file) {
  static const ProgramResult result =
      run_program({"bench", "suite", "--full", "--smaller", "512", "--threads", "1", "--repeat",
                   "1", "--warmup", "0", "--json", "--out", file.string()});
  return result;
}

class BenchSuite : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    lines_ = new std::vector<json>;
    const auto& result = small_suite(*folder_ / "bench.jsonl");
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.out, content(*folder_ / "bench.jsonl"));
    *lines_ = lines_of(result.out);
  }
  static void TearDownTestSuite() {
    delete folder_;
    delete lines_;
  }
  static inline TemporaryFolder* folder_ = nullptr;
  static inline std::vector<json>* lines_ = nullptr;
};

TEST_F(BenchSuite, BeginsWithTheMachineAndHoldsEveryPart) {
  const auto& lines = *lines_;
  const json& head = lines.at(0)["suite"];
  EXPECT_EQ(head["threads"], 1);
  EXPECT_GT(head["limits"]["float32_gflops"], 0);
  EXPECT_GT(head["limits"]["read_gb_s"], 0);
  std::map<std::string, int> count;
  for (size_t i = 1; i < lines.size(); ++i) {
    const json& line = lines[i];
    ++count[line["group"]];
    ASSERT_FALSE(line.contains("skipped")) << line;
    for (const char* name : {"tokens", "d_model", "d_ff", "experts", "top_k", "mode", "dtype",
                             "routing", "experts_used", "busiest_share"})
      EXPECT_TRUE(line.contains(name)) << name;
    EXPECT_GT(line["layer"]["median_ms"], 0);
    EXPECT_GT(line["layer"]["bound_ms"], 0);
    if (line["group"] == "sets" || line["group"] == "paths") continue;
    EXPECT_DOUBLE_EQ(line["over_dense"], line["layer"]["median_ms"].get<double>() /
                                             line["dense"]["median_ms"].get<double>());
  }
  EXPECT_EQ(count["table"], 6 * 4 + 3 * 2);
  EXPECT_EQ(count["skew"], 2 * 2 * 2 * 3);
  EXPECT_EQ(count["scaling"], 2 * 13);  // 1, 2, 4 … 4096
  EXPECT_GE(count["sets"], 4);
  EXPECT_EQ(count["paths"], count["table"]);
}

TEST_F(BenchSuite, SaysWhetherTheChosenKernelsAreTheFastest) {
  for (const auto& line : *lines_) {
    if (!line.contains("group") || line["group"] != "paths") continue;
    const json& paths = line["paths"];
    EXPECT_EQ(line["layer"]["instruction_set"], paths["chosen"]);
    std::set<std::string> names = {paths["chosen"]};
    double least = 1e300;
    for (const json& other : paths["others"]) {
      EXPECT_TRUE(names.insert(other["instruction_set"]).second) << other;
      least = std::min(least, other["median_ms"].get<double>());
    }
    EXPECT_TRUE(names.contains("libtorch") && names.contains("portable")) << paths;
    const double ratio = line["layer"]["median_ms"].get<double>() / least;
    EXPECT_DOUBLE_EQ(paths["over_fastest"], ratio);
    EXPECT_EQ(paths["slower_than_another"], ratio > 1.05);
    EXPECT_TRUE(names.contains(paths["fastest_other"]));
  }
}

TEST_F(BenchSuite, InstructionSetsAreThoseAsked) {
  std::vector<std::string> names;
  for (const auto& line : *lines_)
    if (line.contains("group") && line["group"] == "sets")
      names.push_back(line["layer"]["instruction_set"]);
  for (const char* name : {"portable", "libtorch"})
    EXPECT_EQ(std::ranges::count(names, name), 4) << name;
}

TEST_F(BenchSuite, TheReportShowsIt) {
  const auto result = run_program({"bench", "report", (*folder_ / "bench.jsonl").string(), "--out",
                                   (*folder_ / "bench.html").string()});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_PRED2(contains, result.out, "bench.html");
  const std::string page = content(*folder_ / "bench.html");
  for (const char* part : {"Roofline", "Time over the dense block", "Tokens a second",
                           "Crowded experts", "Instruction sets", "libtorch"})
    EXPECT_PRED2(contains, page, part);
}

ProgramResult run_shell(const std::string& command) {
  return run_process("/bin/sh", {"-c", command});
}

TEST_F(BenchSuite, TheResultsPageIsFilledFromIt) {
  if (!python_has("json")) GTEST_SKIP() << "no python3";
  // A peer beside the first row of the table: it says who was how fast.
  json peer = (*lines_)[1];
  peer.update({{"peer", "somebody"},
               {"block", "layer"},
               {"median_ms", 8},
               {"ours_ms", 2},
               {"torch", "2.0"},
               {"transformers", nullptr}});
  std::ofstream(*folder_ / "peers.jsonl") << peer << "\n"
                                          << json{{"peers_skipped", "nobody"},
                                                  {"reason", "not there"},
                                                  {"tokens", 1},
                                                  {"d_model", 1},
                                                  {"d_ff", 1},
                                                  {"experts", 1},
                                                  {"top_k", 1},
                                                  {"mode", "train"},
                                                  {"dtype", "float32"}}
                                          << "\n";
  const std::string script = python() + ' ' + MOE_SOURCE_DIR + "/benchmarks/write_results.py ";
  const std::string files =
      (*folder_ / "bench.jsonl").string() + " " + (*folder_ / "peers.jsonl").string();
  const auto result = run_shell(script + files);
  ASSERT_EQ(result.status, 0) << result.err;
  for (const char* part :
       {"## Layers", "8.00 somebody (0.25)", "## Ever more experts", "## Crowded experts", "zipf",
        "## Instruction sets", "avx2", "nobody at 1·1·1, 1, 1, train float32: not there"})
    if (std::string(part) != "avx2" || contains(content(*folder_ / "bench.jsonl"), "avx2")) {
      EXPECT_PRED2(contains, result.out, part);
    }
  const auto bad = run_shell(script + (*folder_ / "peers.jsonl").string());
  EXPECT_EQ(bad.status, 1);
  EXPECT_EQ(bad.err.rfind("error: [results]", 0), 0u) << bad.err;

  const auto report = run_program({"bench", "report", (*folder_ / "bench.jsonl").string(),
                                   (*folder_ / "peers.jsonl").string(), "--out",
                                   (*folder_ / "both.html").string()});
  ASSERT_EQ(report.status, 0) << report.err;
  EXPECT_PRED2(contains, content(*folder_ / "both.html"), "8.00 somebody");
}

TEST(BenchPeers, TakeTurnsWithTheProgram) {
  const std::string own = std::string(MOE_SOURCE_DIR) + "/.venv/bin/python3";
  const std::string interpreter = python_has("torch") ? python() : own;
  if (run_shell(interpreter + " -c 'import torch'").status != 0)
    GTEST_SKIP() << "python3 has no torch, nor has .venv/bin/python3";
  const TemporaryFolder folder;
  const std::string out = (folder / "peers.jsonl").string();
  const auto result = run_shell(interpreter + " " + MOE_SOURCE_DIR +
                                "/benchmarks/peers/time_layers.py --program " MOE_PROGRAM
                                " --smaller 64 --only 4x8x16 --repeat 1 --threads 1 --out " +
                                out);
  ASSERT_EQ(result.status, 0) << result.err;
  std::set<std::string> peers;
  for (const auto& line : lines_of(content(out))) {
    if (!line.contains("peer")) {
      EXPECT_NE(line["reason"], "");
      continue;
    }
    peers.insert(line["peer"]);
    EXPECT_GT(line["median_ms"], 0);
    EXPECT_GT(line["ours_ms"], 0);
    EXPECT_EQ(line["tokens"], 4);
  }
  for (const char* name : {"torch dense", "torch loop", "torch grouped_mm", "torch padded"})
    EXPECT_TRUE(peers.contains(name)) << name << result.out;
}

}  // namespace
}  // namespace moe::test
