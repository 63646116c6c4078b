// Damaged checkpoints, and which one is used, under every command that takes a MODEL; --set-moe.

#include <fstream>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/config/toml.h>
#include <moe/data/bpe/bpe_model.h>
#include <moe/formats/safetensors.h>
#include <moe/routing/routers.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_bpe.h"
#include "tests/train/tiny_run.h"

namespace moe::test::checkpoint_commands_test {
namespace {

const char* const kDamaged = "model.layers.0.moe.experts.w_in.0000-0003.safetensors";

/// A run of six steps with checkpoints at 3 and 6.
class CheckpointCommands : public ::testing::Test {
 protected:
  void SetUp() override {
    auto options = tiny_run(folder_.path());
    options.train.steps = 6;
    options.train.checkpoint_every = 3;
    options.train.tensorboard.enabled = false;
    testing::internal::CaptureStderr();
    train::Run(options, folder_.path() / "run").start();
    testing::internal::GetCapturedStderr();
    std::ofstream(path("text")) << "Once upon a time there was a number.";
    std::ofstream(path("ids.json")) << R"({"input_ids": [[1, 2, 3, 4, 5, 6]]})";
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string run() const { return path("run"); }
  std::string step(int number) const { return path(concat("run/checkpoints/step-00000", number)); }
  /// Turns one bit of the ninth-last byte of a file of a checkpoint.
  void damage(const std::string& checkpoint) const {
    std::fstream file(checkpoint + '/' + kDamaged, std::ios::in | std::ios::out | std::ios::binary);
    ASSERT_TRUE(file.good());
    file.seekg(-9, std::ios::end);
    const auto place = file.tellg();
    const char byte = static_cast<char>(file.get() ^ 0x40);
    file.seekp(place);
    file.put(byte);
  }

  /// A line of each command that opens `model`, which works when nothing is damaged.
  std::vector<std::vector<std::string>> commands(const std::string& model) const {
    return {{"eval", model, "--data", path("text")},
            {"eval", model, "--data", path("text"), "--json"},
            {"generate", model, "--prompt", "a", "--max-tokens", "2"},
            {"forward", model, "--tokens", path("ids.json"), "--out", path("out.safetensors")},
            {"inspect", model},
            {"inspect", model, "--json"},
            {"analyze", model, "--permutations", "5", "--batches", "1"},
            {"convert", model, path("native"), "--to", "native"},
            {"tokenize", model},
            {"data", "tokenize", path("text"), "--tokenizer", model, "--out", path("t.tokens")},
            {"bench", "tokenize", path("text"), "--tokenizer", model, "--repeat", "1"}};
  }
  ProgramResult done(const std::vector<std::string>& words) const {
    const auto result = run_program(words);
    EXPECT_EQ(result.status, 0) << join(words, " ") << '\n' << result.err;
    return result;
  }
  nlohmann::json json(std::vector<std::string> words) const {
    words.push_back("--json");
    return nlohmann::json::parse(done(words).out);
  }

  TemporaryFolder folder_;
};

TEST_F(CheckpointCommands, DamageIsFoundHoweverACheckpointIsNamed) {
  for (const auto& words : commands(run())) done(words);
  damage(step(6));
  for (const auto& [model, who] :
       {std::pair{step(6), "the checkpoint, "}, {run(), "the newest checkpoint of the run, "}})
    for (const auto& words : commands(model)) {
      SCOPED_TRACE(join(words, " "));
      const auto refused = run_program(words);
      EXPECT_EQ(refused.status, 1);
      EXPECT_EQ(refused.out, "");
      EXPECT_PRED2(contains, refused.err, concat("error: [models/load] expected ", who, step(6)));
      EXPECT_PRED2(contains, refused.err, concat("\n  ", kDamaged, ": corrupt"));
      EXPECT_PRED2(contains, refused.err, "--no-verify");
      EXPECT_EQ(contains(refused.err, concat("Name an older one (", step(3))), model == run());
      auto knowing = words;
      knowing.push_back("--no-verify");
      done(knowing);
    }
  for (const auto& words : commands(step(3))) done(words);
  // What verifying leaves out is the reading: files that are cut short are refused all the same.
  std::ofstream(step(6) + '/' + kDamaged) << "short";
  const auto cut = run_program({"eval", run(), "--data", path("text"), "--no-verify"});
  EXPECT_EQ(cut.status, 1);
  EXPECT_PRED2(contains, cut.err, "5 bytes, expected");
}

TEST_F(CheckpointCommands, ARunWithoutAWholeOneSaysSo) {
  for (const int number : {3, 6}) std::ofstream(step(number) + '/' + kDamaged) << "short";
  const auto refused = run_program({"eval", run(), "--data", path("text")});
  EXPECT_EQ(refused.status, 1);
  EXPECT_PRED2(contains, refused.err, "Mend it: the older ones are damaged too");
  std::filesystem::remove(step(6) + "/manifest.json");
  const auto none = run_program({"eval", run(), "--data", path("text")});
  EXPECT_EQ(none.status, 1);
  EXPECT_PRED2(contains, none.err, "manifest.json");
}

TEST_F(CheckpointCommands, ResultsNameTheStepThatWasUsed) {
  for (const auto& [model, number] : {std::pair{run(), 6}, {step(6), 6}, {step(3), 3}}) {
    SCOPED_TRACE(model);
    const std::string line = concat("step ", number, " of ", step(number), '\n');
    for (const auto& words : commands(model)) {
      SCOPED_TRACE(join(words, " "));
      const auto result = done(words);
      const std::string& command = words[0];
      if (words.back() == "--json") {
        const auto found = nlohmann::json::parse(result.out);
        EXPECT_EQ(found.at("step"), number);
        EXPECT_EQ(found.at("checkpoint"), step(number));
      } else if (command == "generate") {
        EXPECT_PRED2(contains, result.err, line);
        EXPECT_FALSE(contains(result.out, "step"));
      } else if (command == "analyze") {
        EXPECT_PRED2(contains, result.out, concat(step(number), ", step ", number));
      } else if (command == "eval" || command == "forward" || command == "inspect" ||
                 command == "convert") {
        EXPECT_PRED2(contains, result.out, line);
      }
    }
    EXPECT_EQ(json({"generate", model, "--prompt", "a", "--max-tokens", "1"}).at("step"), number);
    EXPECT_EQ(json({"analyze", model, "--permutations", "5", "--batches", "1"}).at("step"), number);
  }
  // Nothing is known of the steps of a model that came from elsewhere.
  const std::string other =
      (Path(MOE_SOURCE_DIR) / "tests" / "golden" / "mixtral_basic" / "model").string();
  done({"convert", other, path("other")});
  EXPECT_FALSE(contains(done({"inspect", path("other")}).out, "step"));
  EXPECT_TRUE(json({"inspect", path("other")}).at("step").is_null());
}

TEST_F(CheckpointCommands, TrainingGoesOnFromTheNewestWholeOneAndNamesIt) {
  damage(step(6));
  const auto resumed = run_program(
      {"train", run() + "/config.toml", "--out", run(), "--resume", "--threads", "1", "--json"});
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_EQ(nlohmann::json::parse(resumed.out).at("resumed_from"), 3);
  EXPECT_PRED2(contains, resumed.err, kDamaged);
  EXPECT_PRED2(contains, resumed.err, concat("going on from ", step(3)));
  // What it wrote anew is whole.
  done({"eval", run(), "--data", path("text")});
  const auto again =
      run_program({"train", run() + "/config.toml", "--out", run(), "--resume", "--threads", "1"});
  EXPECT_PRED2(contains, again.out, "resumed from step 6");
}

TEST_F(CheckpointCommands, TheReportOfADamagedRunSaysWhy) {
  damage(step(6));
  done({"analyze", run(), "--out", path("page.html"), "--permutations", "5"});
  const std::string page = read_file(real_files(), path("page.html"), 1 << 22);
  EXPECT_PRED2(contains, page, "to be whole, found damage");
  done({"analyze", run(), "--out", path("page.html"), "--permutations", "5", "--no-verify"});
  EXPECT_FALSE(contains(read_file(real_files(), path("page.html"), 1 << 22), "found damage"));
}

TEST_F(CheckpointCommands, SetMoeChangesTheExpertsATokenChooses) {
  const std::vector<std::string> eval = {"eval", run(), "--data", path("text"), "--threads", "1"};
  const auto loss = [&](const std::vector<std::string>& more) {
    auto words = eval;
    words.insert(words.end(), more.begin(), more.end());
    return json(words).at("loss").get<double>();
  };
  EXPECT_EQ(loss({"--set-moe", "top_k=2"}), loss({}));
  EXPECT_NE(loss({"--set-moe", "top_k=1"}), loss({}));
  EXPECT_NE(loss({"--set-moe", "top_k=4"}), loss({}));

  const auto forward = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"forward",        run(),       "--tokens",
                                      path("ids.json"), "--out",     path("out.safetensors"),
                                      "--routing",      "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    done(words);
    return read_file(real_files(), path("out.safetensors"), 1 << 24);
  };
  const auto stored = forward({});
  EXPECT_EQ(forward({"--set-moe", "top_k=2"}), stored);
  forward({"--set-moe", "top_k=3"});
  const auto file = formats::SafetensorsFile::open(path("out.safetensors"));
  EXPECT_EQ(file.info("layers.1.experts").shape, (std::vector<int64_t>{6, 3}));

  const auto text = [&](const std::string& k) {
    return done({"generate", run(), "--prompt", "a", "--temperature", "0", "--max-tokens", "9",
                 "--threads", "1", "--set-moe", "top_k=" + k})
        .out;
  };
  EXPECT_EQ(text("2"), done({"generate", run(), "--prompt", "a", "--temperature", "0",
                             "--max-tokens", "9", "--threads", "1"})
                           .out);
  text("4");
  const auto analysed = json({"analyze", run(), "--permutations", "5", "--batches", "1",
                              "--set-moe", "top_k=1", "--trace", path("trace.safetensors")});
  int64_t pairs = 0;
  for (const auto& domain : analysed["layers"][0]["counts"])
    for (const int64_t count : domain) pairs += count;
  EXPECT_EQ(pairs, analysed.at("tokens").get<int64_t>());
  EXPECT_EQ(analysed.at("set_moe").at("top_k"), 1);
  EXPECT_FALSE(json(eval).contains("set_moe"));

  for (const auto& [setting, part] :
       {std::pair{"top_k=5", "expected top_k in [1, num_experts=4], got 5"},
        {"top_k=0", "whole number of at least 1, got 'top_k=0'"},
        {"top_k=-1", "whole number of at least 1"},
        {"top_k=two", "whole number of at least 1"},
        {"top_k=", "whole number of at least 1"},
        {"top_k=2.0", "whole number of at least 1"},
        {"topk=2", "Did you mean 'top_k'?"},
        {"num_experts=2", "Of a trained model nothing else can be changed"},
        {"top_k", "expected top_k=N, got 'top_k'"}}) {
    SCOPED_TRACE(setting);
    auto words = eval;
    words.insert(words.end(), {"--set-moe", setting});
    const auto refused = run_program(words);
    EXPECT_EQ(refused.status, 2) << refused.err;
    EXPECT_PRED2(contains, refused.err, part);
  }
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"analyze", path("trace.safetensors")},
        {"analyze", run(), "--out", path("page.html")}}) {
    auto with = words;
    with.insert(with.end(), {"--set-moe", "top_k=2"});
    const auto refused = run_program(with);
    EXPECT_EQ(refused.status, 2) << refused.err;
    EXPECT_PRED2(contains, refused.err, "expected no --set-moe");
  }
}

/// A run with a tokenizer and a hash router's table from files.
TEST(SourcesGone, ARunNeedsNothingButItsCheckpoint) {
  const TemporaryFolder folder;
  const Path sources = folder / "sources", run = folder / "run";
  std::filesystem::create_directories(sources);
  const auto write_sources = [&](int64_t first, const std::string& text) {
    const std::string tokenizer = data::write_tokenizer_json(tiny_bpe(text, 300));
    std::ofstream(sources / "tokenizer.json") << tokenizer;
    formats::write_safetensors(
        real_files(), sources / "counts.safetensors",
        {{"counts", (at::arange(300, at::kLong) + first).remainder(300).square()}});
  };
  write_sources(0, mixed_text());
  auto options = tiny_run(sources);
  options.train.steps = 3;
  options.data.tokenizer = (sources / "tokenizer.json").string();
  change_model(options, [&](auto& model) {
    model.vocabulary = 300;
    model.uniform.moe.router =
        HashRouter{.table = "balanced", .counts_file = (sources / "counts.safetensors").string()};
  });
  testing::internal::CaptureStderr();
  train::Run(options, run).start();
  testing::internal::GetCapturedStderr();
  std::ofstream(folder / "text") << "Once upon a time there was a number.";
  std::ofstream(folder / "ids.json") << R"({"input_ids": [[1, 2, 3, 4, 5, 6]]})";

  const auto outputs = [&] {
    const std::string model = run.string(), out = (folder / "out").string();
    std::vector<std::string> found;
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"eval", model, "--data", (folder / "text").string(), "--threads",
                                   "1"},
          {"generate", model, "--prompt", "a", "--max-tokens", "9", "--seed", "1", "--threads",
           "1"},
          {"forward", model, "--tokens", (folder / "ids.json").string(), "--out", out, "--routing",
           "--threads", "1"},
          {"inspect", model},
          {"convert", model, (folder / "native").string(), "--to", "native"},
          {"tokenize", model}}) {
      const auto result = run_program(words, "\"Once upon a time\"");
      EXPECT_EQ(result.status, 0) << words[0] << ": " << result.err;
      found.push_back(result.out);
    }
    found.push_back(read_file(real_files(), out, 1 << 24));
    return found;
  };
  const auto before = outputs();
  write_sources(150, std::string(1000, 'x') + mixed_text());
  EXPECT_EQ(outputs(), before);
  std::filesystem::remove_all(sources);
  EXPECT_EQ(outputs(), before);
}

}  // namespace
}  // namespace moe::test::checkpoint_commands_test
