// Nobody reads the meaning of a parameter out of its name: ParameterInfo says it.
#include <filesystem>
#include <fstream>
#include <regex>

#include <gtest/gtest.h>

#include <moe/base/error.h>

namespace moe::test {
namespace {

/// Components that names of parameters have.
const std::string kWords =
    R"((experts?|router|embedding|head|w_in|w_out|b_in|b_out|w_q|attention|norm|bias|scale|weight|layers|ffn))";

struct Offence {
  const char* what;
  std::regex pattern;
};

std::vector<Offence> offences() {
  return {
      {"searches a name for a component",
       std::regex(
           R"(\b(find|rfind|starts_with|ends_with|contains|compare|glob_match|regex_\w+)\s*\([^;"]*"[^"]*\b)" +
           kWords + R"(\b[^"]*")")},
      {"compares a name with a component",
       std::regex(R"(\b(name|first|component)\s*(==|!=)\s*"[^"]*\b)" + kWords + R"(\b)")},
      {"calls a function that read names",
       std::regex(R"(\b(has_component|is_expert_parameter|single_expert|expert_number)\b)")}};
}

/// Folders whose names are of something else: metrics, traces, and the names of other programs.
bool has_other_names(const std::string& path) {
  for (const char* folder : {"/analyze/", "/models/families/", "/base/", "/formats/", "/config/"})
    if (path.find(folder) != std::string::npos) return true;
  return path.find("name_map") != std::string::npos ||
         path.find("study/recipe") != std::string::npos ||  // options
         path.find("name_pattern") != std::string::npos;
}

std::vector<std::string> found_in(const std::string& line) {
  std::vector<std::string> out;
  // Most lines can hold nothing, and std::regex is slow.
  if (line.find('"') == std::string::npos && line.find("expert") == std::string::npos &&
      line.find("component") == std::string::npos)
    return out;
  for (const auto& [what, pattern] : offences())
    if (std::regex_search(line, pattern)) out.push_back(what);
  return out;
}

TEST(NameParsing, IsRecognised) {
  for (const char* line :
       {R"(if (name.find("experts.") != npos))", R"(router = has_component(name, "router");)",
        R"(parameter.name.starts_with("layers."))", R"(if (name == "embedding") return;)",
        R"(glob_match("*.moe.router.*", name))", R"(std::regex_match(key, std::regex("w_in")))"})
    EXPECT_FALSE(found_in(line).empty()) << line;
  for (const char* line :
       {R"(add_parameter("embedding", {V, D}, {.role = Role::kEmbedding});)",
        R"(v("experts", experts, "how many"))", R"(if (options.of == "router"))",
        R"(metadata.find("first_expert"))", R"(glob_match(group.match, parameter.name))"})
    EXPECT_TRUE(found_in(line).empty()) << line;
}

TEST(NameParsing, IsNowhereInTheLibrary) {
  int64_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(MOE_SOURCE_DIR "/moe")) {
    const std::string path = entry.path().string();
    if (!entry.is_regular_file() || has_other_names(path)) continue;
    const auto extension = entry.path().extension();
    if (extension != ".cpp" && extension != ".h") continue;
    ++files;
    std::ifstream file(path);
    int64_t number = 0;
    for (std::string line; std::getline(file, line);) {
      ++number;
      if (line.find("//") < line.find('"')) continue;  // a comment
      for (const auto& what : found_in(line))
        ADD_FAILURE() << path << ':' << number << ' ' << what << ". Ask ParameterInfo instead.\n  "
                      << line;
    }
  }
  EXPECT_GT(files, 100);
}

}  // namespace
}  // namespace moe::test
