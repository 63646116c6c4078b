#include <algorithm>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/config/toml.h>
#include <moe/models/load.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"

namespace moe::test {

namespace {

using nlohmann::json;

const std::vector<std::vector<std::string>> kCommands = {
    {"train"},           {"compare"},          {"analyze"},           {"eval"},
    {"generate"},        {"forward"},          {"inspect"},           {"tokenize"},
    {"data", "synth"},   {"data", "tokenize"}, {"bench", "layer"},    {"bench", "dense"},
    {"bench", "model"},  {"bench", "compare"}, {"bench", "tokenize"}, {"bench", "suite"},
    {"bench", "report"}, {"completion"}};

/// Exit status, and one line "error: [place] …" (a list may follow on indented lines).
void expect_error(const ProgramResult& result, int status, const std::string& part) {
  EXPECT_EQ(result.status, status) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err.rfind("error: [", 0), 0u) << result.err;
  EXPECT_PRED2(contains, result.err, part);
  for (size_t at = result.err.find('\n'); at + 1 < result.err.size();
       at = result.err.find('\n', at + 1))
    EXPECT_EQ(result.err.substr(at + 1, 2), "  ") << result.err;
}

constexpr const char* kRun = R"(
[model]
vocabulary = 97
context_length = 32
d_model = 24
layers = 3
heads = 4
kv_heads = 2
qk_norm = true
[model.moe]
num_experts = 5
top_k = 2
every = 2
router = {kind = "topk"}
expert = {kind = "ffn", d_ff = 40, bias = true}
shared = {d_ff = 16, gate = true}
)";

}  // namespace

TEST(Cli, EveryHelpEndsWithAnExampleThatNamesTheCommand) {
  for (auto command : kCommands) {
    std::string name = "moe";
    for (const auto& word : command) name += ' ' + word;
    command.push_back("--help");
    const auto result = run_program(command);
    EXPECT_EQ(result.status, 0) << name << result.err;
    EXPECT_EQ(result.err, "") << name;
    const size_t example = result.out.rfind("Example:\n  ");
    ASSERT_NE(example, std::string::npos) << name;
    EXPECT_PRED2(contains, result.out.substr(example), name);
  }
}

TEST(Cli, SaysItsVersion) {
  const auto result = run_program({"--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out.rfind("moe 0.", 0), 0u) << result.out;
}

TEST(Cli, WrongUsageIsStatusTwo) {
  expect_error(run_program({}), 2, "moe --help");
  expect_error(run_program({"inspct"}), 2, "got 'inspct'. Did you mean 'inspect'?");
  expect_error(run_program({"bench"}), 2, "moe bench --help");
  expect_error(run_program({"bench", "layr"}), 2, "subcommand of 'moe bench', got 'layr'");
  expect_error(run_program({"inspect", "--nonsense"}), 2, "--nonsense");
  expect_error(run_program({"data", "synth"}), 2, "--out");
  expect_error(run_program({"inspect"}), 2, "got nothing");
  expect_error(run_program({"completion", "csh"}), 2, "bash, zsh, fish");
}

TEST(Cli, RefusesZeroThreads) {
  expect_error(run_program({"bench", "layer", "--threads", "0"}), 2,
               "[--threads] expected a number of threads in [1, 4096], got 0");
  expect_error(run_program({"bench", "layer", "--threads", "many"}), 2, "--threads");
}

TEST(Cli, RefusesWrongTypesDevicesAndKinds) {
  expect_error(run_program({"bench", "layer", "--dtype", "float8"}), 2, "got 'float8'");
  expect_error(run_program({"bench", "layer", "--device", "cuda:x"}), 2, "got 'cuda:x'");
  expect_error(run_program({"bench", "layer", "--top-k", "9"}), 2,
               "expected --top-k in [1, --experts=8]");
  expect_error(run_program({"bench", "layer", "--router", "topq"}), 2, "Did you mean 'topk'?");
  expect_error(run_program({"bench", "layer", "--repeat", "0"}), 2, "--repeat");
}

TEST(Cli, WhatComputesTakesThreadsDeviceTypeAndSeed) {
  const auto takes = [](std::vector<std::string> command, const std::vector<std::string>& options) {
    command.push_back("--help");
    const std::string help = run_program(command).out;
    for (const auto& option : options)
      EXPECT_PRED2(contains, help, "--" + option + " ") << command[0];
  };
  takes({"train"}, {"threads", "device", "dtype", "seed", "set"});
  takes({"compare"}, {"threads", "device", "dtype", "seeds", "set"});
  takes({"eval"}, {"threads", "device", "dtype"});
  takes({"generate"}, {"threads", "device", "dtype", "seed"});
  takes({"forward"}, {"threads", "device", "dtype"});
  takes({"analyze"}, {"threads", "seed", "set"});
  for (const char* what : {"layer", "dense", "model"})
    takes({"bench", what}, {"threads", "device", "dtype", "seed"});
}

TEST(Cli, FailuresAreStatusOneAndWrongPathsStatusTwo) {
  TemporaryFolder folder;
  expect_error(run_program({"inspect", folder.path().string()}), 2, "[models/load]");
  expect_error(run_program({"tokenize"}, "no json\n"), 1, "line 1");
  expect_error(run_program({"tokenize", "--decode"}, "[300]\n"), 1, "300");
  expect_error(run_program({"tokenize", "--decode"}, "\"x\"\n"), 1, "JSON array");
}

TEST(Cli, ListsEveryRegistryAsOneJsonDocument) {
  const auto result = run_program({"inspect", "--list", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const json list = json::parse(result.out);
  for (const char* family : {"router", "balance", "expert", "dispatcher", "mixer", "feed_forward",
                             "objective", "optimizer", "architecture", "family"}) {
    ASSERT_TRUE(list.contains(family)) << family;
    EXPECT_FALSE(list[family].empty()) << family;
    for (const auto& kind : list[family]) EXPECT_FALSE(kind["help"].get<std::string>().empty());
  }
  const auto routers = run_program({"inspect", "--list", "router", "--json"});
  EXPECT_EQ(json::parse(routers.out), json({{"router", list["router"]}}));
  expect_error(run_program({"inspect", "--list", "routers"}), 2, "Did you mean 'router'?");
}

TEST(Cli, ListsTheSettingsOfDataAndTraining) {
  const auto result = run_program({"inspect", "--list", "section"});
  ASSERT_EQ(result.status, 0) << result.err;
  for (const char* line :
       {"\n  data: ", "\n  train: ", "\n      domains[].path ",
        "\n      steps = ", "\n      optimizer.lr = ", "\n      schedule.warmup = "})
    EXPECT_PRED2(contains, result.out, line);
  EXPECT_PRED2(contains, run_program({"train", "--help"}).out, "--list section");
}

TEST(Cli, InspectCountsWhatTheModelHolds) {
  TemporaryFolder folder;
  std::ofstream(folder / "run.toml") << kRun;
  const auto result = run_program(
      {"inspect", (folder / "run.toml").string(), "--json", "--set", "model.tied_embeddings=true"});
  ASSERT_EQ(result.status, 0) << result.err;
  const json found = json::parse(result.out);

  Table model = *config::parse_toml(kRun, "run").find("model")->as<Table>();
  model.set("tied_embeddings", Value(true));
  int64_t total = 0;
  models::ModelSpec spec;
  read_fields(spec, model, "model");
  for (const auto& parameter : models::make_model(spec)->parameters()) total += parameter.numel();
  EXPECT_EQ(found["parameters"]["total"], total);
  // One MoE layer of 5 experts, of which 2 are active.
  const int64_t expert = 2 * 24 * 40 + 40 + 24;
  EXPECT_EQ(found["parameters"]["active"], total - 3 * expert);
  EXPECT_EQ(found["parameters"]["active_without_embeddings"], total - 3 * expert - 97 * 24);
  EXPECT_EQ(found["family"], "decoder");
  EXPECT_EQ(found["context_length"], 32);
  EXPECT_EQ(found["memory_bytes"]["parameters"], 4 * total);
}

TEST(Cli, InspectOfAModelOfImagesSpeaksOfNoCache) {
  TemporaryFolder folder;
  std::ofstream(folder / "digits.toml")
      << "[model]\narchitecture = \"vision\"\nheight = 8\nwidth = 8\nclasses = 10\npatch = 4\n"
         "d_model = 8\nlayers = 1\nheads = 2\n";
  const auto text = run_program({"inspect", (folder / "digits.toml").string()});
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_EQ(text.out.find("kv_cache"), std::string::npos) << text.out;
  EXPECT_EQ(text.out.rfind("architecture vision\n", 0), 0) << text.out;
  const auto as_json = run_program({"inspect", (folder / "digits.toml").string(), "--json"});
  EXPECT_FALSE(nlohmann::json::parse(as_json.out)["memory_bytes"].contains("kv_cache"));
}

TEST(Cli, InspectRefusesWhatItDoesNotKnow) {
  TemporaryFolder folder;
  std::ofstream(folder / "run.toml") << "[model]\nd_modl = 3\n";
  expect_error(run_program({"inspect", (folder / "run.toml").string()}), 2,
               "Did you mean 'd_model'?");
  std::ofstream(folder / "no.toml") << "[train]\nsteps = 3\n";
  expect_error(run_program({"inspect", (folder / "no.toml").string()}), 2, "[model] section");
  expect_error(run_program({"inspect", "mixtral-9x9b"}), 2, "got 'mixtral-9x9b'");
}

TEST(Cli, TokenizeGoesThereAndBack) {
  const auto ids = run_program({"tokenize"}, "\"To be\"\n\"\\u00e9\"\n");
  ASSERT_EQ(ids.status, 0) << ids.err;
  EXPECT_EQ(ids.out, "[84,111,32,98,101]\n[195,169]\n");
  const auto text = run_program({"tokenize", "--decode", "--no-special"}, ids.out);
  EXPECT_EQ(text.out, "\"To be\"\n\"é\"\n");
}

TEST(Cli, BenchesPrintWhatTheyTimed) {
  for (const char* what : {"layer", "dense"})
    for (const char* mode : {"forward", "train"}) {
      const auto result =
          run_program({"bench", what, "--tokens", "64", "--d-model", "16", "--d-ff", "32", "--mode",
                       mode, "--repeat", "3", "--threads", "1", "--json"});
      ASSERT_EQ(result.status, 0) << result.err;
      const json found = json::parse(result.out);
      EXPECT_GT(found["median_ms"], 0);
      EXPECT_LE(found["min_ms"], found["median_ms"]);
      EXPECT_LE(found["median_ms"], found["max_ms"]);
      EXPECT_EQ(found["work"]["threads"], 1);
      // 3 D (K F) multiply-adds a token; the layer's router adds D E; training is three times that.
      const int64_t blocks = 64 * 2 * 3 * 16 * 64, router = 64 * 2 * 16 * 8;
      EXPECT_EQ(found["work"]["flops"], (std::string(mode) == "train" ? 3 : 1) *
                                            (blocks + (std::string(what) == "layer" ? router : 0)));
    }
}

TEST(Cli, BenchNamesItsInstructionSetAndTheShareOfThePeak) {
  const std::vector<std::string> bench = {"bench",  "layer", "--tokens",  "64", "--d-model", "16",
                                          "--d-ff", "32",    "--threads", "1",  "--json"};
  const auto with = [&](const char* set) {
    setenv("MOE_CPU", set, 1);
    const auto result = run_program(bench);
    unsetenv("MOE_CPU");
    return result;
  };
  const json found = json::parse(with("portable").out);
  EXPECT_EQ(found["work"]["instruction_set"], "portable");
  EXPECT_GT(found["peak_gflops"], 0);
  EXPECT_GT(found["share_of_peak"], 0);
  // No kernels, no peak of theirs.
  EXPECT_FALSE(json::parse(with("libtorch").out).contains("share_of_peak"));
  expect_error(with("portible"), 2, "Did you mean 'portable'?");
}

TEST(Cli, BenchModelTimesAStepInEveryType) {
  for (const char* dtype : {"float32", "bfloat16", "float64"}) {
    const auto result = run_program({"bench",    "model", "--vocabulary", "50",  "--d-model", "16",
                                     "--layers", "2",     "--heads",      "2",   "--experts", "4",
                                     "--d-ff",   "16",    "--sequence",   "8",   "--batch",   "2",
                                     "--repeat", "1",     "--dtype",      dtype, "--json"});
    ASSERT_EQ(result.status, 0) << result.err;
    const json found = json::parse(result.out);
    EXPECT_GT(found["tokens_per_second"], 0);
    EXPECT_GT(found["parameters"], 4 * 2 * 3 * 16 * 16);
  }
}

TEST(Cli, CompareCoversEveryCombination) {
  const auto result = run_program({"bench", "compare", "--tokens", "32", "--d-model", "16",
                                   "--d-ff", "16", "--experts", "2,4", "--mode", "forward,train",
                                   "--dtypes", "float32", "--repeat", "1", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(json::parse(result.out).size(), 4u);
}

TEST(Cli, SynthWritesTheSameBytesForTheSameSeed) {
  TemporaryFolder folder;
  for (const char* name : {"a", "b"}) {
    const auto result = run_program({"data", "synth", "--out", (folder / name).string(), "--seed",
                                     "3", "--bytes-per-domain", "20000"});
    ASSERT_EQ(result.status, 0) << result.err;
  }
  const auto content = [&](const char* name) {
    std::ifstream file(folder / name / "CHECKSUMS");
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_NE(content("a"), "");
  EXPECT_EQ(content("a"), content("b"));
}

TEST(Cli, CompletionsKnowEverySubcommandAndOption) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const auto result = run_program({"completion", shell});
    ASSERT_EQ(result.status, 0) << result.err;
    for (const auto& command : kCommands) EXPECT_PRED2(contains, result.out, command.back());
    EXPECT_PRED2(contains, result.out, "d-model");
  }
}

TEST(Cli, AFullDiskIsNoSuccess) {
  const std::string command = std::string(MOE_PROGRAM) + " inspect --list > /dev/full 2> /dev/null";
  const int code = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(code), 1);
}

}  // namespace moe::test
