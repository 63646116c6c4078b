// Command lines and files that a stranger may try: one line of error, and the promised exit status.

#include <fstream>

#include <gtest/gtest.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"

namespace moe::test {
namespace {

constexpr const char* kStrangersRun =
    "[model]\nd_model = 8\n[data]\n[[data.domains]]\nname = \"a\"\npath = \"b\"\n";

void expect_refusal(const std::vector<std::string>& words, int status, const std::string& part) {
  const auto result = run_program(words);
  EXPECT_EQ(result.status, status) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err.rfind("error: [", 0), 0u) << result.err;
  EXPECT_PRED2(contains, result.err, part);
}

class Hostile : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(path("run.toml")) << kStrangersRun; }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  /// What `moe inspect` says of the run with one setting changed.
  void expect_setting_refused(const std::string& setting, const std::string& part) const {
    expect_refusal({"inspect", path("run.toml"), "--set", setting}, 2, part);
  }
  TemporaryFolder folder_;
};

TEST_F(Hostile, MistypedOptionsGetASuggestion) {
  expect_refusal({"train", path("run.toml"), "--out", "x", "--max-stps", "3"}, 2,
                 "[usage] expected an option of 'moe train', got '--max-stps'. Did you mean "
                 "'--max-steps'? Run 'moe train --help'.");
  // The mistake, not what is missing because of it.
  expect_refusal({"train", path("run.toml"), "--uot", "x"}, 2,
                 "got '--uot'. Did you mean '--out'?");
  expect_refusal({"--vresion"}, 2, "got '--vresion'. Did you mean '--version'?");
}

TEST_F(Hostile, MissingArgumentsAreNamedTogether) {
  expect_refusal(
      {"train"}, 2,
      "[usage] expected FILE.toml (the run, as TOML; moe inspect --list section names its "
      "settings) and --out DIR (folder to write to) for 'moe train', got none. Add them.");
  expect_refusal({"train", path("run.toml"), "--out"}, 2, "expected a value behind --out DIR");
  expect_refusal({"data", "synth"}, 2,
                 "expected --out DIR (folder to write to) for 'moe data synth'");
  expect_refusal({}, 2, "expected a subcommand of 'moe', got none. Known: train");
}

TEST_F(Hostile, TooMuchOnTheLineIsRefused) {
  expect_refusal({"train", path("run.toml"), "more", "--out", "x"}, 2,
                 "expected no more arguments of 'moe train', got 'more'");
  expect_refusal({"train", path("run.toml"), "--out", "x", "--out", "y"}, 2,
                 "expected --out once, got it 2 times: x, y");
  expect_refusal({"inspect", path("run.toml"), "--json=maybe"}, 2,
                 "expected --json without a value");
}

TEST_F(Hostile, NumbersAreWholeOrRefused) {
  for (const char* text : {"abc", "1.5", "99999999999999999999999", "0x10", "3 ", "--4"})
    expect_refusal(
        {"bench", "layer", std::string("--tokens=") + text}, 2,
        std::string("[--tokens] expected a whole number from -2^63 to 2^63-1, got '") + text);
  expect_refusal({"bench", "layer", "--tokens", "-3"}, 2, "expected --tokens in [1,");
  expect_refusal({"bench", "layer", "--top-k", "010"}, 2, "got 10");  // not octal
  expect_refusal({"train", path("run.toml"), "--out", "x", "--max-steps", "-1"}, 2,
                 "[--max-steps] expected a number of at least 0, got -1");
  expect_refusal({"compare", path("run.toml"), "--out", "x", "--seeds", "101"}, 2, "[--seeds]");
  for (const char* option : {"--tokens", "--pairs"}) {
    expect_refusal({"analyze", path("m"), option, "99999999999999999999"}, 2,
                   std::string("[") + option + "] expected a whole number from -2^63 to 2^63-1");
    expect_refusal({"analyze", path("m"), option, "-1"}, 2,
                   std::string("[") + option + "] expected a number of at least 0, got -1");
  }
  for (const char* text : {"1e309", "one"})
    expect_refusal({"generate", path("m"), "--temperature", text}, 2, "expected a number, got");
}

TEST_F(Hostile, WhatWouldBeIgnoredIsRefused) {
  expect_refusal({"inspect", path("run.toml"), "--list"}, 2,
                 "expected no model and no --set beside --list");
  expect_refusal({"inspect", "--list", "--set", "model.layers=2"}, 2,
                 "expected no model and no --set beside --list");
}

TEST_F(Hostile, ListsAreRefusedBeforeTheirFirstItemIsTimed) {
  expect_refusal(
      {"bench", "compare", "--tokens", "8", "--experts", "8", "--dtypes", "float32,float31"}, 2,
      "got 'float31'");
  expect_refusal({"bench", "compare", "--tokens", "8", "--experts", "8", "--mode", "train,run"}, 2,
                 "got 'run'");
}

TEST_F(Hostile, AFolderOfSeveralRunsIsWrongUsage) {
  for (const char* run : {"a", "b"})
    std::filesystem::create_directories(folder_.path() / "runs" / run / "checkpoints");
  expect_refusal({"generate", path("runs")}, 2, "expected one run, found several");
}

TEST_F(Hostile, EmptyNamesWriteNothing) {
  expect_refusal({"train", path("run.toml"), "--out", ""}, 2, "[--out] expected a name");
  expect_refusal({"data", "synth", "--out", ""}, 2, "[--out] expected a name");
}

TEST_F(Hostile, APathThatNamesNothingIsWrongUsage) {
  for (const char* command : {"eval", "generate", "forward", "tokenize", "analyze"}) {
    std::vector<std::string> words = {command, path("nothing")};
    if (words[0] == "eval") words.insert(words.end(), {"--data", path("run.toml")});
    if (words[0] == "forward")
      words.insert(words.end(), {"--tokens", path("run.toml"), "--out", path("o")});
    expect_refusal(
        words, 2,
        words[0] == "tokenize"
            ? "[models/load] expected a tokenizer.json, a run or a checkpoint, found none"
            : "[models/load] expected a folder with a model, found none at '");
  }
  expect_refusal({"inspect", path("nothing")}, 2, "neither file nor folder");
  expect_refusal({"eval", path("m"), "--data", path("nothing")}, 2,
                 "[--data] expected a file at '");
  expect_refusal({"eval", path("m"), "--data", folder_.path().string()}, 2, "found a folder");
  expect_refusal({"forward", path("m"), "--tokens", "/dev/zero", "--out", path("o")}, 2,
                 "found a device or pipe");
  expect_refusal({"train", std::string(5000, 'a'), "--out", path("o")}, 2, "found nothing there");
}

TEST_F(Hostile, AFolderThatIsNoModelIsWrongUsage) {
  for (const char* command : {"generate", "analyze", "inspect"})
    expect_refusal({command, folder_.path().string()}, 2, "found none of them. Check the path.");
  std::filesystem::create_directory(folder_.path() / "empty");
  expect_refusal({"generate", path("empty")}, 2, "found an empty folder. Check the path.");
}

TEST_F(Hostile, EveryUnknownKeyIsNamed) {
  std::ofstream(path("bad.toml")) << "[model]\nd_modl = 3\n[model.moe.router]\nkind = \"topk\"\n"
                                     "noize = 1\n[train]\nstepz = 3\n[zzz]\n[data]\n";
  const auto refused = run_program({"train", path("bad.toml"), "--out", path("o")});
  EXPECT_EQ(refused.status, 2);
  for (const char* part :
       {"got 4 unknown", "\n  'model.d_modl' (line 2). Did you mean 'd_model'?",
        "\n  'model.moe.router.noize' (line 5).",
        "\n  'train.stepz' (line 7). Did you mean 'steps'?",
        "\n  'zzz' (line 8). Known here: model, data, train, parallel.", "\n  in "})
    EXPECT_PRED2(contains, refused.err, part);
}

TEST_F(Hostile, SettingsThatNoModelHasAreRefused) {
  for (const char* key : {"d_model", "vocabulary", "context_length", "heads", "moe.num_experts",
                          "moe.expert.d_ff", "moe.shared.d_ff", "moe.every"})
    expect_setting_refused(concat("model.", key, "=9223372036854775807"),
                           concat("'model.", key, "' of at least"));
  expect_setting_refused("model.moe.num_experts=-3",
                         "of at least 0 and at most 2147483647, got -3");
  expect_setting_refused("model.d_model=2147483640", "[parameters] expected a model of fewer");
  for (const char* value : {"nan", "-1", "inf"})
    for (const char* key : {"rope_theta", "norm_epsilon", "init.std"})
      expect_setting_refused(concat("model.", key, '=', value),
                             concat("'model.", key, "' to be finite"));
  expect_setting_refused("model.moe.balance=[{kind=\"switch\", coefficient=nan}]",
                         "'model.moe.balance[0].coefficient' to be finite, got nan");
  expect_setting_refused("model.moe.expert_dropout=nan", "expert_dropout' in [0, 1), got nan");
  expect_setting_refused("train.optimizer.lr=inf", "'train.optimizer.lr' to be finite");
  expect_setting_refused("train.optimizer.expert_lr_factor=nan", "expert_lr_factor");
  expect_setting_refused("train.monitor.overload=nan", "'train.monitor.overload' to be finite");
  for (const char* key : {"batch", "accumulation", "steps", "threads"})
    expect_setting_refused(concat("train.", key, "=9223372036854775807"),
                           concat("'train.", key, "' of at most"));
  expect_setting_refused("train.max_bad_steps=-1", "max_bad_steps");
}

TEST_F(Hostile, NamesWithControlCharactersAreSpelledOut) {
  const auto result = run_program({"inspect", "\x1b[31m\xff"});
  EXPECT_EQ(result.status, 2);
  EXPECT_PRED2(contains, result.err, "'\\x1b[31m\\xff'");
}

TEST_F(Hostile, MemoryThatIsNotThereIsOneLine) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP()
      << "AddressSanitizer ends a process that asks for so much, or adds a line of its own";
#endif
  expect_refusal({"bench", "layer", "--experts", "1000000", "--top-k", "1", "--d-model", "1000000"},
                 1, "[memory] expected the system to give");
}

TEST_F(Hostile, ClosedStreamsAreNotWhereFilesGo) {
  // Descriptor 1 is free: without care the first file opened would become standard output.
  const std::string program = MOE_PROGRAM, out = path("synth"), log = path("log");
  const int code = std::system(
      concat(program, " data synth --out ", out, " --bytes-per-domain 20000 >&- 2> ", log).c_str());
  EXPECT_EQ(WEXITSTATUS(code), 1);
  std::ifstream file(log);
  std::string line;
  std::getline(file, line);
  EXPECT_PRED2(contains, line, "error: [stdout] expected to write all output");
  const int quiet = std::system(concat(program, " inspect --list <&- >/dev/null 2>&-").c_str());
  EXPECT_EQ(WEXITSTATUS(quiet), 0);
}

}  // namespace
}  // namespace moe::test
