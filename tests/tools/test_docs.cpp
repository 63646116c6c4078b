// What the documents show is what the program does.

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/support/run_program.h"

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
  for (const auto& file : {"README.md", "docs/architecture.md", "docs/metrics.md",
                           "docs/howto/add_a_router.md", "CONTRIBUTING.md"}) {
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

}  // namespace
}  // namespace moe::test
