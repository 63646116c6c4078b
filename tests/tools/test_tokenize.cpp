// moe tokenize --train, and a run that uses what it makes, as processes.

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/config/toml.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_bpe.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

class TrainedTokenizer : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(folder_ / "a.txt") << mixed_text() << "<|endoftext|>";
    std::ofstream(folder_ / "b.txt") << "The cat isn't here.\n<|endoftext|>";
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  /// Trains DIR/made/tokenizer.json.
  ProgramResult train(const std::string& vocabulary) const {
    return run_program({"tokenize", "--train", "--vocabulary", vocabulary, "--special",
                        "<|endoftext|>", "--out", path("made/tokenizer.json"), path("a.txt"),
                        path("b.txt")});
  }

  TemporaryFolder folder_;
};

TEST_F(TrainedTokenizer, GoesThereAndBack) {
  const auto trained = train("350");
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_EQ(trained.out, path("made/tokenizer.json") + ": 350 tokens, 93 merges\n");
  const std::string lines = "\"The cat's 語<|endoftext|>\"\n\"\"\n";
  for (const auto& model : {path("made/tokenizer.json"), path("made")}) {
    const auto ids = run_program({"tokenize", model}, lines);
    ASSERT_EQ(ids.status, 0) << ids.err;
    const auto first = nlohmann::json::parse(ids.out.substr(0, ids.out.find('\n')));
    EXPECT_LT(first.size(), 20u);
    EXPECT_EQ(first.back(), 0);
    EXPECT_EQ(run_program({"tokenize", model, "--decode"}, ids.out).out, lines);
    EXPECT_EQ(run_program({"tokenize", model, "--decode", "--no-special"}, ids.out).out,
              "\"The cat's 語\"\n\"\"\n");
  }
  const auto first = read_file(real_files(), path("made/tokenizer.json"), 1u << 20);
  ASSERT_EQ(train("350").status, 0);
  EXPECT_EQ(read_file(real_files(), path("made/tokenizer.json"), 1u << 20), first);
}

TEST_F(TrainedTokenizer, RefusesWrongUsage) {
  const auto refused = [&](std::vector<std::string> words, const std::string& part) {
    words.insert(words.begin(), "tokenize");
    const auto result = run_program(words);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_PRED2(contains, result.err, part);
    EXPECT_FALSE(std::filesystem::exists(path("t.json")));
  };
  const std::string out = path("t.json");
  refused({"--train", "--out", out}, "files of text");
  refused({"--train", path("a.txt")}, "--out");
  refused({"--train", "--out", path("t.txt"), path("a.txt")}, ".json");
  refused({"--train", "--vocabulary", "255", "--out", out, path("a.txt")}, "vocabulary");
  refused({"--train", "--out", out, path("none.txt")}, "none.txt");
  refused({"--train", "--decode", "--out", out, path("a.txt")}, "--decode");
  refused({"--out", out}, "--train");
  refused({path("a.txt"), path("b.txt")}, "one MODEL");
  const auto text = run_program({"tokenize", path("a.txt")});
  EXPECT_EQ(text.status, 1);
  EXPECT_PRED2(contains, text.err, "JSON object");
}

TEST_F(TrainedTokenizer, GoesWithTheCheckpointsOfARun) {
  ASSERT_EQ(train("350").status, 0);
  auto options = tiny_run(folder_.path());
  options.data.tokenizer = path("made/tokenizer.json");
  options.model.options.set("vocabulary", int64_t{350});
  options.train.steps = 2;
  std::ofstream(folder_ / "run.toml") << config::write_toml(train::resolved(options));
  const auto run = run_program(
      {"train", path("run.toml"), "--out", path("run"), "--max-steps", "1", "--threads", "1"});
  ASSERT_EQ(run.status, 0) << run.err;

  // Other tokens under the same name are noticed.
  std::filesystem::rename(path("made"), path("kept"));
  ASSERT_EQ(train("340").status, 0);
  const std::vector<std::string> resume = {"train",    path("run.toml"), "--out", path("run"),
                                           "--resume", "--threads",      "1"};
  const auto other = run_program(resume);
  EXPECT_EQ(other.status, 2);
  EXPECT_PRED2(contains, other.err, "expected data.tokenizer to be the tokenizer of");
  std::filesystem::remove_all(path("made"));
  std::filesystem::rename(path("kept"), path("made"));
  const auto resumed = run_program(resume);
  ASSERT_EQ(resumed.status, 0) << resumed.err;

  // The run alone is enough to use the model.
  const auto expected = run_program({"tokenize", path("made")}, "\"The cat\"\n").out;
  std::filesystem::remove_all(path("made"));
  EXPECT_EQ(run_program({"tokenize", path("run")}, "\"The cat\"\n").out, expected);
  const auto text = run_program({"generate", path("run"), "--prompt", "The cat", "--max-tokens",
                                 "4", "--threads", "1", "--json"});
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_EQ(nlohmann::json::parse(text.out).at("prompt_tokens"),
            nlohmann::json::parse(expected).size());
  const auto loss =
      run_program({"eval", path("run"), "--data", path("b.txt"), "--threads", "1", "--json"});
  ASSERT_EQ(loss.status, 0) << loss.err;
  const auto found = nlohmann::json::parse(loss.out);
  EXPECT_LT(found.at("tokens"), found.at("bytes"));
}

TEST_F(TrainedTokenizer, NeedsAModelWithAsManyTokens) {
  ASSERT_EQ(train("350").status, 0);
  auto options = tiny_run(folder_.path());
  options.data.tokenizer = path("made/tokenizer.json");
  options.model.options.set("vocabulary", int64_t{349});
  std::ofstream(folder_ / "run.toml") << config::write_toml(train::resolved(options));
  const auto run = run_program({"train", path("run.toml"), "--out", path("run")});
  EXPECT_EQ(run.status, 2);
  EXPECT_PRED2(contains, run.err, "expected model.vocabulary of at least 350");
}

}  // namespace
}  // namespace moe::test
