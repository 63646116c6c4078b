// What the documents show is what the program does.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include <moe/base/error.h>

#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"
#include "tests/tools/help.h"

namespace moe::test {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

const std::filesystem::path kRoot = MOE_SOURCE_DIR;

TEST(Docs, KindsAreThoseOfTheRegistries) {
  const std::string page = text_of(kRoot / "docs" / "kinds.md");
  const size_t begin = page.find("```\n") + 4, end = page.rfind("```");
  ASSERT_LT(begin, end);
  EXPECT_EQ(page.substr(begin, end - begin), run_program({"inspect", "--list"}).out)
      << "scripts/list_kinds.sh build/release/moe > docs/kinds.md writes it anew.";
}

TEST(Docs, EveryCommandShownExists) {
  std::set<std::string> commands;
  const std::regex shown("`moe ([a-z]+)( [a-z]+)?");
  for (const auto& file :
       {"README.md", "docs/architecture.md", "docs/choosing.md", "docs/metrics.md",
        "docs/howto/add_a_router.md", "docs/howto/add_a_balance_term.md",
        "docs/howto/add_an_expert.md", "CONTRIBUTING.md"}) {
    const std::string page = text_of(kRoot / file);
    ASSERT_FALSE(page.empty()) << file;
    for (std::sregex_iterator i(page.begin(), page.end(), shown), end; i != end; ++i) {
      const std::string first = (*i)[1], second = (*i)[2];
      const bool group = first == "bench" || first == "data";
      commands.insert(group ? first + second : first);
    }
  }
  EXPECT_GE(commands.size(), 10u);
  for (const auto& command : commands) {
    std::vector<std::string> words;
    std::istringstream in(command);
    for (std::string word; in >> word;) words.push_back(word);
    words.push_back("--help");
    EXPECT_EQ(run_program(words).status, 0) << command;
  }
}

TEST(Docs, TheReadmeNamesEveryCommand) {
  const std::string page = text_of(kRoot / "README.md");
  const auto commands = subcommands_in(help_of({}));
  EXPECT_GE(commands.size(), 11u);
  for (const auto& command : commands)
    EXPECT_NE(page.find("| `moe " + command), std::string::npos) << command;
}

TEST(Docs, EveryConfigurationIsOne) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kRoot / "configs")) {
    if (entry.path().extension() != ".toml") continue;
    ++found;
    const auto result = run_program({"inspect", entry.path().string()});
    EXPECT_EQ(result.status, 0) << entry.path() << ": " << result.err;
  }
  EXPECT_GE(found, 8);
}

/// The pages about experts and balance show pieces of configurations.
TEST(Docs, TheConfigurationsOfThePagesAreRead) {
  const TemporaryFolder folder;
  int found = 0;
  for (const char* page : {"experts.md", "balance.md"}) {
    const std::string text = text_of(kRoot / "docs" / page);
    for (size_t begin = text.find("```toml\n"); begin != std::string::npos;
         begin = text.find("```toml\n", begin + 1)) {
      const size_t first = begin + 8, end = text.find("```", first);
      const auto file = folder / concat(found++, ".toml");
      std::ofstream(file) << text.substr(first, end - first);
      const auto result = run_program({"inspect", file.string()});
      EXPECT_EQ(result.status, 0) << text.substr(first, end - first) << result.err;
    }
  }
  EXPECT_GE(found, 5);
}

/// Every file below `folders`, as a path from the root.
std::vector<std::string> files_of(const std::vector<std::string>& folders) {
  std::vector<std::string> out;
  for (const auto& folder : folders)
    for (const auto& entry : std::filesystem::recursive_directory_iterator(kRoot / folder))
      if (entry.is_regular_file())
        out.push_back("/" + entry.path().lexically_relative(kRoot).string());
  return out;
}

TEST(Docs, FolderPagesAreShortAndNameWhatIsThere) {
  const auto all = files_of({"moe", "report", "corpora", "tests", "scripts", "docs", "examples"});
  const std::regex shown("`([A-Za-z0-9_/.]+\\.(h|cpp|def|inc|py|md))`");
  std::vector<std::filesystem::path> folders = {kRoot / "report", kRoot / "corpora"};
  for (const auto& entry : std::filesystem::directory_iterator(kRoot / "moe"))
    if (entry.is_directory()) folders.push_back(entry.path());
  for (const auto& folder : folders) {
    const std::string page = text_of(folder / "README.md");
    EXPECT_LE(std::count(page.begin(), page.end(), '\n'), 30) << folder;
    for (std::sregex_iterator i(page.begin(), page.end(), shown), end; i != end; ++i) {
      const std::string name = "/" + (*i)[1].str();
      const bool exists = std::any_of(all.begin(), all.end(),
                                      [&](const auto& path) { return path.ends_with(name); });
      EXPECT_TRUE(exists) << folder << " names " << name;
    }
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string name = entry.path().filename();
      if (name.ends_with(".h")) {
        EXPECT_NE(page.find('`' + name + '`'), std::string::npos)
            << folder << " does not name " << name;
      }
    }
  }
}

TEST(Docs, StudiesSayWhatTheirResultsSay) {
  const auto checked = run_process(
      "/usr/bin/env", {"python3", (kRoot / "scripts" / "study_figures.py").string(), "--check"});
  EXPECT_EQ(checked.status, 0) << checked.err;
}

TEST(Docs, EveryExampleIsListedAndRun) {
  const std::string page = text_of(kRoot / "examples" / "README.md");
  const std::string tests = text_of(kRoot / "examples" / "CMakeLists.txt");
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kRoot / "examples")) {
    const auto& path = entry.path();
    if (path.extension() != ".cpp") continue;
    ++found;
    EXPECT_NE(page.find("`" + path.filename().string() + "`"), std::string::npos) << path;
    EXPECT_NE(tests.find("moe_example(" + path.stem().string()), std::string::npos) << path;
  }
  EXPECT_GE(found, 7);
}

}  // namespace
}  // namespace moe::test
