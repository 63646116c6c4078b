// Text of strangers: --special-as-text, --no-special and special = false, as processes.

#include <algorithm>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/config/toml.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_bpe.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

using nlohmann::json;

class UserText : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(path("t.json")) << data::write_tokenizer_json(
        tiny_bpe(mixed_text(), 350, {"<|endoftext|>"}));
    std::ofstream(path("text")) << kText;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string output(const std::vector<std::string>& words, const std::string& input = "") const {
    const auto result = run_program(words, input);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out;
  }
  json json_of(std::vector<std::string> words) const {
    words.insert(words.end(), {"--threads", "1", "--json"});
    return json::parse(output(words));
  }
  /// A run of one step on the text; `special` is that of its domain.
  void train(const std::string& out, bool special) const {
    auto options = tiny_run(folder_.path());
    options.data.tokenizer = path("t.json");
    options.data.domains.resize(1);
    options.data.domains[0].special = special;
    options.model.options.set("vocabulary", int64_t{350});
    options.model.options.set("context_length", int64_t{64});
    options.train.steps = 1;
    std::ofstream(path("run.toml")) << config::write_toml(train::resolved(options));
    json_of({"train", path("run.toml"), "--out", path(out)});
  }

  static constexpr const char* kText = "The cat<|endoftext|> isn't <|endoftext|>here.";
  TemporaryFolder folder_;
};

TEST_F(UserText, TokenizeEncodesItAsText) {
  const std::string line = json(kText).dump() + "\n";
  const json special = json::parse(output({"tokenize", path("t.json")}, line)),
             text = json::parse(output({"tokenize", path("t.json"), "--special-as-text"}, line));
  EXPECT_EQ(std::count(special.begin(), special.end(), json(0)), 2);
  EXPECT_EQ(std::count(text.begin(), text.end(), json(0)), 0);
  for (const json& ids : {special, text})
    EXPECT_EQ(output({"tokenize", path("t.json"), "--decode"}, ids.dump() + "\n"), line);
  // To decode without them leaves out the tokens, and not text that reads like them.
  const auto plain = [&](const json& ids) {
    return output({"tokenize", path("t.json"), "--decode", "--no-special"}, ids.dump() + "\n");
  };
  EXPECT_EQ(plain(special), "\"The cat isn't here.\"\n");
  EXPECT_EQ(plain(text), line);
  // Bytes have no special tokens.
  EXPECT_EQ(output({"tokenize", "--special-as-text"}, line), output({"tokenize"}, line));
}

TEST_F(UserText, GenerateReadsThePromptAsText) {
  train("run", true);
  const auto prompt_tokens = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", path("run"), "--prompt", kText, "--max-tokens", "1"});
    return json_of(more).at("prompt_tokens").get<size_t>();
  };
  const auto count = [&](const std::vector<std::string>& words) {
    return json::parse(output(words, json(kText).dump() + "\n")).size();
  };
  const size_t special = count({"tokenize", path("run")}),
               text = count({"tokenize", path("run"), "--special-as-text"});
  EXPECT_GT(text, special);
  EXPECT_EQ(prompt_tokens({}), special);
  EXPECT_EQ(prompt_tokens({"--no-special"}), text);
}

TEST_F(UserText, DataTokenizeAndEvalReadFilesAsText) {
  output({"data", "tokenize", path("text"), "--tokenizer", path("t.json"), "--out", path("a")});
  output({"data", "tokenize", path("text"), "--tokenizer", path("t.json"), "--out", path("b"),
          "--no-special"});
  train("run", true);
  const auto tokens = [&](const std::string& run, std::vector<std::string> more) {
    more.insert(more.begin(), {"eval", path(run)});
    return json_of(more).at("tokens").get<int64_t>();
  };
  const int64_t special = tokens("run", {"--data", path("text")}),
                text = tokens("run", {"--data", path("text"), "--no-special"});
  EXPECT_GT(text, special);
  EXPECT_EQ(tokens("run", {"--data", path("a"), "--format", "tokens"}), special);
  EXPECT_EQ(tokens("run", {"--data", path("b"), "--format", "tokens"}), text);
  // A run that read its own text so evaluates so.
  train("strict", false);
  EXPECT_EQ(tokens("strict", {"--data", path("text")}), text);
  const auto refused =
      run_program({"eval", path("run"), "--data", path("a"), "--format", "tokens", "--no-special"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_PRED2(contains, refused.err, "[--no-special]");
}

}  // namespace
}  // namespace moe::test
