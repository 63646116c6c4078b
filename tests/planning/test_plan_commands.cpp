// moe plan, moe bench exchange and moe place as processes, and the page that shows them.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/analyze/trace_writer.h>
#include <moe/analyze/traffic.h>
#include <moe/cluster/placement_file.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"

namespace moe::test {
namespace {

using nlohmann::json;

const std::filesystem::path kRootOfPlans = MOE_SOURCE_DIR;

std::string config_path(const std::string& name) {
  return (kRootOfPlans / "configs" / name).string();
}

json json_of(std::vector<std::string> words) {
  words.push_back("--json");
  const auto result = run_program(words);
  EXPECT_EQ(result.status, 0) << result.err;
  return json::parse(result.out);
}

void expect_refused(std::vector<std::string> words, const std::string& part) {
  words.push_back("--json");
  const auto result = run_program(words);
  EXPECT_EQ(result.status, 2) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_PRED2(contains, result.err, part);
  EXPECT_EQ(result.err.rfind("error: ", 0), 0u) << result.err;
}

/// Rows of tokens that choose two experts of one of two groups: the even ones, or the odd ones.
analyze::RoutedRows planted_rows(int64_t experts, int64_t tokens) {
  analyze::RoutedRows out;
  out.sequence = tokens;
  out.row_begin_U = {0, tokens};
  analyze::LayerPairs layer{.layer = 1, .experts = experts, .offset_T = {0}};
  for (int64_t t = 0; t < tokens; ++t) {
    out.token_T.push_back(static_cast<int32_t>(t % 7));
    out.position_T.push_back(static_cast<int32_t>(t));
    out.counted_T.push_back(t % 40 >= 8);
    const int64_t first = t % experts;
    for (const int64_t e : {first, (first + 2) % experts}) {
      layer.expert_N.push_back(static_cast<int32_t>(e));
      layer.weight_N.push_back(0.5f);
    }
    layer.offset_T.push_back(static_cast<int64_t>(layer.expert_N.size()));
  }
  out.layers = {layer};
  return out;
}

/// A trace of them, and the configuration of a model that could have made it.
void write_planted(const std::filesystem::path& folder) {
  const auto rows = planted_rows(8, 400);
  analyze::TraceWriter writer(real_files(), folder / "trace.safetensors",
                              {.domains = {"text"},
                               .sequence = 400,
                               .vocabulary = 256,
                               .model = "out/run/checkpoints/step-000100",
                               .step = 100});
  writer.add(rows);
  writer.finish();
  std::ofstream(folder / "run.toml")
      << "[model]\nd_model = 32\nlayers = 2\nheads = 2\ncontext_length = 32\n"
         "[model.moe]\nnum_experts = 8\ntop_k = 2\nexpert = {kind = \"gated\", d_ff = 64}\n"
         "[data]\nsequence = 32\ndomains = [{name = \"text\", path = \"text.txt\"}]\n"
         "[train]\nbatch = 64\n";
}

TEST(PlanCommand, SaysWhatFitsAsJson) {
  const json found = json_of(
      {"plan", config_path("demo.toml"), "--cluster", config_path("clusters/two_nodes.toml")});
  EXPECT_EQ(found["ranks"], 8);
  EXPECT_EQ(found["nodes"], 2);
  EXPECT_EQ(found["moe_layers"], 4);
  EXPECT_EQ(found["most_experts"], 8);
  EXPECT_EQ(found["dtype"], "bfloat16");
  EXPECT_EQ(found["tokens_per_step"], 8 * 256);
  EXPECT_EQ(found["too_large"]["count"], 0);
  EXPECT_TRUE(found["too_large"]["nearest"].is_null());
  // 1, 2, 4, 8 ranks a layer, zero1, four chunks.
  ASSERT_EQ(found["layouts"].size(), 2u * (1 + 3 * 4));
  EXPECT_EQ(found["evaluated"], found["layouts"].size());
  double before = 0;
  for (const auto& layout : found["layouts"]) {
    EXPECT_EQ(layout["experts"].get<int64_t>() * layout["data"].get<int64_t>(), 8);
    double bytes = 0, seconds = 0;
    for (const char* part : {"weights", "gradients", "moments", "activations", "exchange"})
      bytes += layout["memory_bytes"][part].get<double>();
    EXPECT_NEAR(layout["memory_bytes"]["total"].get<double>(), bytes, 4);
    for (const char* part : {"dense", "experts", "exchange", "gradients", "sums", "optimizer"})
      seconds += layout["seconds"][part].get<double>();
    EXPECT_NEAR(layout["seconds"]["total"].get<double>() / seconds, 1, 1e-9);
    EXPECT_GE(seconds, before * (1 - 1e-9));
    before = seconds;
    EXPECT_GT(layout["share_of_peak"], 0);
    EXPECT_LT(layout["share_of_peak"], 1);
    EXPECT_EQ(layout["fits"], true);
  }
  EXPECT_EQ(json_of({"plan", config_path("demo.toml"), "--cluster",
                     config_path("clusters/two_nodes.toml"), "--top", "3"})["layouts"]
                .size(),
            3u);
}

TEST(PlanCommand, SaysWhyNothingFits) {
  const std::vector<std::string> words = {"plan",      config_path("demo.toml"),
                                          "--cluster", config_path("clusters/two_nodes.toml"),
                                          "--ranks",   "1",
                                          "--model",   "mixtral-8x7b"};
  const json found = json_of(words);
  EXPECT_EQ(found["layouts"].size(), 0u);
  EXPECT_EQ(found["too_large"]["count"], 1);
  const std::string reason = found["too_large"]["nearest"]["reason"];
  EXPECT_PRED2(contains, reason, "moments alone take 374 GB of 8 GB");
  const auto said = run_program(words);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_PRED2(contains, said.out, "0 of 1 layouts fit");
  EXPECT_PRED2(contains, said.out, reason);
}

TEST(PlanCommand, PlansThePapersModels) {
  const json tpu = json_of({"plan", config_path("plans/gshard_600b.toml"), "--model", "gshard-600b",
                            "--cluster", config_path("clusters/tpu_v3_2048.toml"), "--all"});
  EXPECT_EQ(tpu["ranks"], 2048);
  EXPECT_EQ(tpu["moe_layers"], 18);
  EXPECT_EQ(tpu["tokens_per_step"], 4194304);
  const json gpu = json_of({"plan", config_path("plans/deepseek_v3.toml"), "--model", "deepseek-v3",
                            "--cluster", config_path("clusters/h800_2048.toml"), "--all"});
  EXPECT_EQ(gpu["ranks"], 2048);
  EXPECT_EQ(gpu["moe_layers"], 58);
  EXPECT_EQ(gpu["tokens_per_step"], 62914560);
}

TEST(PlanCommand, RefusesWhatItCannotRead) {
  const TemporaryFolder folder;
  const std::string demo = config_path("demo.toml"), two = config_path("clusters/two_nodes.toml"),
                    bad = folder / "bad.toml";
  expect_refused({"plan", demo}, "--cluster");
  expect_refused({"plan", "/nowhere.toml", "--cluster", two}, "expected a file at '/nowhere.toml'");
  expect_refused({"plan", demo, "--cluster", "/nowhere.toml"}, "[--cluster] expected a file");
  expect_refused({"plan", demo, "--cluster", demo}, "unknown");
  expect_refused({"plan", two, "--cluster", two}, "[model]");
  expect_refused({"plan", demo, "--cluster", two, "--ranks", "3000"}, "expected ranks in [1, 8]");
  expect_refused({"plan", demo, "--cluster", two, "--ranks", "-1"}, "--ranks");
  expect_refused({"plan", demo, "--cluster", two, "--imbalance", "0"}, "in [1, 1e6], got 0");
  expect_refused({"plan", demo, "--cluster", two, "--chunks", "0"}, "chunks in [1, 1024]");
  expect_refused({"plan", demo, "--cluster", two, "--model", "mixtral-8x7"}, "mixtral-8x7b");
  expect_refused({"plan", demo, "--cluster", two, "--set", "model.d_modle=3"}, "d_modle");
  expect_refused({"plan", config_path("mnist.toml"), "--cluster", two}, "expected a model of text");
  std::ofstream(bad) << "nodes = 2\n[rank]\nfloat32 = 1e9\nmemory = 1e9\nmemory_bandwidth = 1e9\n";
  expect_refused({"plan", demo, "--cluster", bad}, "expected 'between.bandwidth' above 0");
}

TEST(BenchExchange, WritesAClusterThatPlansRead) {
  const TemporaryFolder folder;
  const std::string file = folder / "here.toml";
  const json found =
      json_of({"bench", "exchange", "--ranks", "4", "--nodes", "2", "--bytes", "1024,65536",
               "--repeat", "3", "--warmup", "1", "--threads", "1", "--out", file});
  EXPECT_EQ(found["ranks"], 4);
  for (const char* link : {"inside", "between"})
    for (const char* what : {"all_to_all", "all_reduce"}) {
      const auto& measured = found[link][what];
      EXPECT_GT(measured["bandwidth"], 0);
      EXPECT_GE(measured["latency"], 0);
      ASSERT_EQ(measured["timed"].size(), 2u);
      for (const auto& one : measured["timed"]) EXPECT_GT(one["seconds"], 0);
    }
  // Half of 1024 bytes goes to the other of two; both ranks of a node share the link between nodes.
  EXPECT_EQ(found["inside"]["all_to_all"]["timed"][0]["bytes"], 512);
  EXPECT_EQ(found["between"]["all_to_all"]["timed"][0]["bytes"], 1024);
  const auto cluster = cluster::read_cluster(file);
  EXPECT_EQ(cluster.nodes, 2);
  EXPECT_EQ(cluster.ranks(), 4);
  EXPECT_GT(cluster.rank.float32, 0);
  EXPECT_GT(cluster.rank.memory, 0);
  EXPECT_EQ(json_of({"plan", config_path("demo.toml"), "--cluster", file})["ranks"], 4);
}

TEST(BenchExchange, RefusesWhatMeasuresNothing) {
  expect_refused({"bench", "exchange", "--ranks", "0"}, "expected ranks in [1, 1024], got 0");
  expect_refused({"bench", "exchange", "--ranks", "3", "--nodes", "2"},
                 "nodes that divide the 3 ranks");
  expect_refused({"bench", "exchange", "--bytes", "1024"}, "at least two sizes");
  expect_refused({"bench", "exchange", "--bytes", "1024,1025"}, "differ by a factor of 8");
  expect_refused({"bench", "exchange", "--repeat", "0"}, "repetitions");
}

TEST(Traffic, CountsTheTokensThatCount) {
  const auto rows = planted_rows(8, 40);
  analyze::TrafficCollector collector;
  collector.add(rows);
  collector.add(rows);
  const auto traffic = std::move(collector).finish();
  ASSERT_EQ(traffic.size(), 1u);
  EXPECT_EQ(traffic[0].layer, 1);
  EXPECT_EQ(traffic[0].tokens(), 64);
  EXPECT_EQ(traffic[0].pairs(), 128);
  EXPECT_EQ(traffic[0].sets(), 8);
  auto others = rows;
  others.layers[0].experts = 9;
  analyze::TrafficCollector mixed;
  mixed.add(rows);
  EXPECT_ERROR(mixed.add(others), "expected layer 1 with 8 experts, got layer 1 with 9");
}

TEST(PlaceCommand, RecoversPlantedGroups) {
  const TemporaryFolder folder;
  write_planted(folder.path());
  const std::string out = folder / "placement.json";
  const std::vector<std::string> words = {"place",     folder / "trace.safetensors",
                                          "--cluster", config_path("clusters/two_nodes.toml"),
                                          "--ranks",   "2",
                                          "--model",   folder / "run.toml",
                                          "--out",     out};
  const json found = json_of(words);
  EXPECT_EQ(found["ranks"], 2);
  EXPECT_EQ(found["rows"], "node");
  const auto& layer = found["layers"][0];
  EXPECT_EQ(layer["tokens"], 320);
  EXPECT_EQ(layer["proven"], true);
  EXPECT_LT(layer["after"]["seconds"], layer["before"]["seconds"]);
  const auto file = cluster::read_placement(out);
  EXPECT_EQ(file.ranks, 2);
  ASSERT_EQ(file.layers.size(), 1u);
  EXPECT_EQ(file.layers[0].layer, 1);
  for (size_t e = 2; e < 8; ++e)
    EXPECT_EQ(file.layers[0].rank_E[e], file.layers[0].rank_E[e % 2]) << "even and odd go together";
  // The same again by local search, and in words.
  auto local = words;
  local.insert(local.end(), {"--method", "local"});
  EXPECT_EQ(json_of(local)["layers"][0]["after"]["seconds"], layer["after"]["seconds"]);
  const auto said = run_program(words);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_PRED2(contains, said.out, "no placement costs less");
  EXPECT_PRED2(contains, said.out, "no expert is worth a copy");
}

TEST(PlaceCommand, RefusesWhatItCannotUse) {
  const TemporaryFolder folder;
  write_planted(folder.path());
  const auto place = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"place",     folder / "trace.safetensors",
                                      "--cluster", config_path("clusters/two_nodes.toml"),
                                      "--out",     folder / "out.json"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const std::string run = folder / "run.toml";
  expect_refused(place({"--model", run, "--rows", "nodes"}), "Did you mean 'node'?");
  expect_refused(place({"--model", run, "--method", "fast"}), "--method");
  expect_refused(place({"--model", run, "--busiest", "2"}), "in [0, 1], got 2");
  expect_refused(place({"--model", run, "--ranks", "2", "--capacity", "3"}),
                 "holds 8 experts on 2 ranks");
  expect_refused(place({"--model", run, "--replicas", "-1"}), "--replicas");
  expect_refused(place({"--model", "olmoe-1b-7b"}), "expected a model with 8 experts in layer 1");
  expect_refused(place({}), "out/run/checkpoints/step-000100");
  EXPECT_FALSE(std::filesystem::exists(folder / "out.json"));
}

/// Every command of docs/planning.md, in order, in a folder with configs/ and a trace.
TEST(PlanningPage, CommandsWorkAsTheyStand) {
  std::ifstream file(kRootOfPlans / "docs" / "planning.md");
  const std::string page(std::istreambuf_iterator<char>(file), {});
  const TemporaryFolder folder;
  write_planted(folder.path());
  std::filesystem::create_directory_symlink(kRootOfPlans / "configs", folder / "configs");
  int found = 0;
  std::istringstream lines(page);
  bool shown = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("```", 0) == 0) shown = line == "```" && !shown;
    if (!shown || line.rfind("moe ", 0) != 0) continue;
    ++found;
    const auto result =
        run_process("/bin/bash", {"-c", "set -e; cd '" + folder.path().string() +
                                            "'; moe() { " MOE_PROGRAM " \"$@\"; }; " + line});
    EXPECT_EQ(result.status, 0) << line << '\n' << result.err;
    EXPECT_NE(result.out, "") << line;
  }
  EXPECT_GE(found, 4);
}

}  // namespace
}  // namespace moe::test
