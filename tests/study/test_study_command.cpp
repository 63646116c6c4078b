// moe study as a program: processes, what is written, what is refused.
#include <csignal>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/study/study.h>

#include "tests/study/small_study.h"
#include "tests/support/message_of.h"
#include "tests/support/run_program.h"

namespace moe::test {
namespace {

std::vector<std::string> tiny_study(const TemporaryFolder& folder, const std::string& out) {
  std::ofstream(folder / "text.txt") << corpora::make_domain(
      "english", corpora::Split::kTrain, {.seed = 3, .bytes_per_domain = 40000});
  return {"study",   "routers",
          "--out",   (folder / out).string(),
          "--data",  (folder / "text.txt").string(),
          "--steps", "4",
          "--seeds", "2",
          "--kinds", "hash",
          "--set",   "model.d_model=16",
          "--set",   "model.layers=1"};
}

/// A study without what depends on the clock.
nlohmann::json figures_of(const Path& file) {
  std::ifstream in(file);
  auto json = nlohmann::json::parse(in);
  json.erase("date");
  for (auto& row : json.at("rows"))
    for (const char* key : {"seconds", "tokens_per_second", "loss_at_equal_time", "peak_bytes"})
      row.erase(key);
  return json;
}

TEST(StudyCommand, WritesItsPageAndGoesOn) {
  TemporaryFolder folder;
  const auto words = tiny_study(folder, "a");
  const auto first = run_program(words);
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_PRED2(contains, first.out, "hash");
  EXPECT_PRED2(contains, first.err, "4/4 runs");
  const Path out = folder / "a";
  EXPECT_TRUE(std::filesystem::exists(out / "study.html"));
  const auto whole = figures_of(out / "study.json");
  EXPECT_EQ(whole.at("study"), "routers");
  EXPECT_EQ(whole.at("rows").size(), 2u);
  for (const auto& row : whole.at("rows")) {
    EXPECT_EQ(row.at("seeds"), 2);
    EXPECT_GT(row.at("loss").at("mean"), 0);
    EXPECT_GT(row.at("parameters"), row.at("active_parameters"));
  }
  // Half of it lost: the same command makes it again, the same.
  std::filesystem::remove_all(out / "runs" / "hash" / "seed-2");
  std::filesystem::remove(out / "study.json");
  const auto again = run_program(words);
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_PRED2(contains, again.err, "3/4 runs");
  EXPECT_EQ(figures_of(out / "study.json"), whole);

  auto other = words;
  other[7] = "5";
  const auto refused = run_program(other);
  EXPECT_EQ(refused.status, 2);
  EXPECT_PRED2(contains, refused.err, "run.train.steps: was 4, is 5");
}

TEST(StudyCommand, ListsWhatItCompares) {
  const auto list = run_program({"study", "--list", "--json"});
  ASSERT_EQ(list.status, 0) << list.err;
  const auto studies = nlohmann::json::parse(list.out).at("study");
  ASSERT_EQ(studies.size(), study::studies().size());
  for (const auto& study : studies) {
    const auto rows = run_program({"study", study.at("name"), "--list", "--json"});
    ASSERT_EQ(rows.status, 0) << rows.err;
    EXPECT_GE(nlohmann::json::parse(rows.out).at("rows").size(), 8u);
  }
}

TEST(StudyCommand, RefusesWhatDoesNotFit) {
  TemporaryFolder folder;
  const std::string out = folder / "out";
  const auto refused = [](const std::vector<std::string>& words, const std::string& message) {
    const auto result = run_program(words);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_PRED2(contains, result.err, message);
  };
  refused({"study"}, "moe study --list");
  refused({"study", "router", "--out", out}, "Did you mean 'routers'?");
  refused({"study", "routers"}, "--out");
  refused({"study", "routers", "--out", out, "--seeds", "0"}, "[1, 100]");
  refused({"study", "routers", "--out", out, "--kinds", "topq"}, "Did you mean 'topk'?");
  refused({"study", "routers", "--out", out, "--data", "no.txt"}, "no.txt");
  refused({"study", "routers", "--out", out, "--threads", "0"}, "--threads");
}

TEST(StudyCommand, PrintsWhatPublishedModelsUse) {
  const auto block = run_program({"inspect", "--list", "router", "--like", "deepseek-v3"});
  ASSERT_EQ(block.status, 0) << block.err;
  EXPECT_PRED2(contains, block.out, "[model.moe]\nnum_experts = 256");
  const auto json =
      run_program({"inspect", "--list", "router", "--like", "mixtral-8x7b", "--json"});
  EXPECT_EQ(nlohmann::json::parse(json.out).at("experts"), "2 of 8");
  const auto unknown = run_program({"inspect", "--list", "router", "--like", "deepseek-v4"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_PRED2(contains, unknown.err, "Did you mean 'deepseek-v3'?");
  EXPECT_EQ(run_program({"inspect", "--list", "expert", "--like", "deepseek-v3"}).status, 2);
  EXPECT_EQ(run_program({"inspect", "--like", "deepseek-v3"}).status, 2);
}

}  // namespace
}  // namespace moe::test
