// Runs over documents that share rows: resumed, learnt to the end, evaluated, and from token files.
#include <cmath>
#include <fstream>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/config/toml.h>
#include <moe/generation/generate.h>
#include <moe/objectives/evaluate.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_bpe.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

/// Documents of one line, "one two" or "one two two two", and a tokenizer with an end of text.
class PackedRun : public testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    std::string text;
    for (int i = 0; i < 400; ++i) text += i % 2 == 0 ? "one two\n" : "one two two two\n";
    std::ofstream(folder_ / "text") << text;
    std::ofstream(folder_ / "tokenizer.json")
        << data::write_tokenizer_json(tiny_bpe(text, 270, {"<|endoftext|>"}));
  }

  train::RunOptions run_options() {
    auto run = tiny_run(folder_.path());
    run.data.tokenizer = folder_ / "tokenizer.json";
    run.data.domains.resize(1);
    run.data.domains[0] = {.name = "lines", .path = folder_ / "text", .valid_share = 0.1};
    run.data.packing = {.documents = "line", .end_of_text = true, .attention = "document"};
    run.model.options.set("vocabulary", int64_t{270});
    return run;
  }
  Path path(const std::string& name) const { return folder_.path() / name; }

  TemporaryFolder folder_;
};

TEST_F(PackedRun, ResumesBitForBit) {
  const auto options = run_options();
  train::Run(options, path("whole")).start();
  train::Run cut(options, path("cut"));
  cut.start({.max_steps = 7});
  cut.resume();
  EXPECT_EQ(tensor_files(path("whole")), tensor_files(path("cut")));

  auto other = options;
  other.data.packing.attention = "stream";
  train::Run stream(other, path("cut"));
  EXPECT_ERROR(stream.resume(), "data.packing.attention: was \"document\", is \"stream\"");
}

TEST_F(PackedRun, LearnsToEndAndIsEvaluatedDocumentByDocument) {
  auto options = run_options();
  options.train.steps = 150;
  options.train.eval_every = 0;
  options.train.checkpoint_every = 0;
  options.train.optimizer.lr = 1e-2;
  options.model.options.set("dropout", 0.0);
  const auto summary = train::Run(options, path("run")).start();
  const auto model = models::load(path("run"));

  // "one" is never predicted; behind " two" comes an end or another, one time in two, and so on.
  EXPECT_LT(summary.final_loss, 0.5);
  const auto found = generate(model, "one two two two", {.max_tokens = 8, .temperature = 0});
  EXPECT_EQ(found.finish_reason, "stop");
  EXPECT_EQ(found.text, "");
  EXPECT_EQ(found.tokens.size(), 1u);
  const auto on = generate(model, "one two two two",
                           {.max_tokens = 8, .temperature = 0, .ignore_end_of_text = true});
  EXPECT_EQ(on.finish_reason, "length");

  std::ofstream(path("valid")) << "one two two two\none two\n";
  const auto packing = models::data_options_of(model).packing;
  EXPECT_EQ(packing.documents, "line");
  const auto both = objectives::evaluate_file(model, path("valid"), "text", packing);
  objectives::TextLoss sum;
  for (const char* line : {"one two two two", "one two"}) {
    std::ofstream(path("line")) << line;
    sum += objectives::evaluate_file(model, path("line"), "text", packing);
  }
  EXPECT_EQ(both.tokens, sum.tokens);
  EXPECT_EQ(both.bytes, sum.bytes);
  EXPECT_NEAR(both.loss_sum, sum.loss_sum, 1e-4);
}

TEST_F(PackedRun, TrainsAlikeFromATokenFile) {
  auto options = run_options();
  options.data.domains[0] = {.name = "lines", .train = folder_ / "text"};
  options.train.steps = 3;
  train::Run(options, path("text-run")).start();
  const auto made = run_program({"data", "tokenize", path("text"), "--tokenizer",
                                 path("tokenizer.json"), "--documents", "line", "--end-of-text",
                                 "--out", path("made/text.tokens"), "--threads", "2"});
  ASSERT_EQ(made.status, 0) << made.err;
  EXPECT_PRED2(contains, made.out, "in 400 documents");
  options.data.domains[0] = {
      .name = "lines", .train = path("made/text.tokens"), .format = "tokens"};
  train::Run(options, path("tokens-run")).start();
  EXPECT_EQ(tensor_files(path("text-run")), tensor_files(path("tokens-run")));

  const auto wrong =
      run_program({"data", "tokenize", path("text"), "--tokenizer", path("tokenizer.json"),
                   "--documents", "separator", "--out", path("made/x")});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_PRED2(contains, wrong.err, "no separator");
}

TEST_F(PackedRun, TheEncodingIsTimed) {
  const auto timed = run_program({"bench", "tokenize", path("text"), "--tokenizer",
                                  path("tokenizer.json"), "--repeat", "1", "--json"});
  ASSERT_EQ(timed.status, 0) << timed.err;
  const auto found = nlohmann::json::parse(timed.out);
  for (const char* cache : {"cold", "warm"})
    EXPECT_GT(found.at(cache).at("megabytes_per_second").get<double>(), 0);
  EXPECT_EQ(found.at("bytes"), 400 / 2 * 24);
  EXPECT_EQ(found.at("work").at("threads"), 1);
}

}  // namespace
}  // namespace moe::test
