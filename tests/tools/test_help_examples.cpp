// The examples that `--help` ends with, run as they stand, in the order that a new user would.

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include <gtest/gtest.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"
#include "tests/tools/help.h"

namespace moe::test {
namespace {

using Words = std::vector<std::string>;

/// Every command by its path ("bench layer"), with its example.
void collect_examples(const Words& command, std::map<std::string, std::string>& out) {
  const std::string help = help_of(command);
  const std::string mark = "Example:\n  ";
  const size_t begin = help.rfind(mark);
  std::string path;
  for (const auto& word : command) path += (path.empty() ? "" : " ") + word;
  ASSERT_NE(begin, std::string::npos) << path;
  const std::string example = help.substr(begin + mark.size());
  out[path] = example.substr(0, example.find_last_not_of('\n') + 1);
  for (const auto& name : subcommands_in(help)) {
    Words longer = command;
    longer.push_back(name);
    collect_examples(longer, out);
  }
}

/// What makes an example that trains or times short, put in front of its comment.
std::string shortened(const std::string& path, std::string example) {
  static const std::string kTiny =
      " --threads 1 --set model.d_model=16 --set model.layers=2 --set model.heads=2"
      " --set model.moe.expert.d_ff=16 --set train.steps=2 --set train.batch=2"
      " --set train.eval_batches=1 --set train.schedule.warmup=1";
  std::string more;
  if (path == "train" || path == "compare") more = kTiny;
  if (path.rfind("bench", 0) == 0 && path != "bench report") more = " --repeat 1 --warmup 0";
  if (path == "study") more = " --steps 2 --kinds hash --seeds 1";
  if (path == "generate") more = " --max-tokens 4";
  if (path == "analyze") more = " --batches 1 --permutations 10";
  if (path == "place") more = " --batches 1";
  return example.insert(std::min(example.find("   # "), example.size()), more);
}

ProgramResult run_in_bash(const std::filesystem::path& folder, const std::string& command) {
  return run_process("/bin/bash", {"-c", "set -e; cd '" + folder.string() +
                                             "'; moe() { " MOE_PROGRAM " \"$@\"; }; " + command});
}

TEST(HelpExamples, WorkAsTheyStand) {
  std::map<std::string, std::string> examples;
  collect_examples({}, examples);
  ASSERT_GE(examples.size(), 15u);

  TemporaryFolder folder;
  std::filesystem::create_directory_symlink(std::filesystem::path(MOE_SOURCE_DIR) / "configs",
                                            folder / "configs");
  // `train` writes the demo's text and `compare` its models, which the others read.
  Words order = {"train", "compare"};
  for (const auto& [path, example] : examples)
    if (path != "train" && path != "compare") order.push_back(path);
  for (const auto& path : order) {
    const std::string command = shortened(path, examples.at(path));
    const auto result = run_in_bash(folder.path(), command);
    EXPECT_EQ(result.status, 0) << command << "\n" << result.err;
    EXPECT_PRED2(contains, command, path.empty() ? "moe" : "moe " + path.substr(0, path.find(' ')));
    if (path != "completion") {
      EXPECT_NE(result.out, "") << command;
    }
  }
}

/// What follows `begin` in `page`, up to the end of its block.
std::string block_after(const std::string& page, const std::string& begin) {
  const size_t at = page.find(begin);
  if (at == std::string::npos) return "";
  const size_t from = at + begin.size();
  return page.substr(from, page.find("\n```", from) - from);
}

TEST(HelpExamples, TextOfUsersTrainsAsTheReadmeShows) {
  std::ifstream file(std::filesystem::path(MOE_SOURCE_DIR) / "README.md");
  const std::string page(std::istreambuf_iterator<char>(file), {});
  const std::string configuration = block_after(page, "```toml\n"), train = "moe train mine.toml",
                    commands = train + block_after(page, "```\n" + train);
  ASSERT_PRED2(contains, configuration, "mine.txt");
  const size_t line = commands.find('\n');
  ASSERT_NE(line, std::string::npos) << commands;

  TemporaryFolder folder;
  std::ofstream(folder / "mine.toml") << configuration << '\n';
  std::ofstream text(folder / "mine.txt");
  for (int i = 0; i < 600; ++i) text << "Once there was a fox, number " << i << ".\n";
  text.close();
  const std::string command = shortened("train", commands.substr(0, line)) + "\n" +
                              shortened("generate", commands.substr(line + 1));
  const auto result = run_in_bash(folder.path(), command);
  EXPECT_EQ(result.status, 0) << command << "\n" << result.err;
  EXPECT_PRED2(contains, result.out, "step 2 after ");
}

}  // namespace
}  // namespace moe::test
