#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/data/corpus.h>
#include <moe/data/json_lines.h>

namespace moe::data {
namespace {

class CorpusFiles : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name, std::ios::binary) << text;
    return (dir_ / name).string();
  }
  static std::string text_of(const Tokens& tokens) {
    std::vector<int64_t> ids(static_cast<size_t>(tokens.size()));
    tokens.copy(0, ids);
    return ByteTokenizer().decode(ids);
  }
  static std::string message_of(const DataOptions& options) {
    try {
      Corpus corpus(options);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  }
  std::filesystem::path dir_ = std::filesystem::path(testing::TempDir()) / "moe_corpus";
};

TEST_F(CorpusFiles, SplitsOneFileAtTheHead) {
  const std::string text = "0123456789abcdefghij";
  const Corpus corpus(
      {.sequence = 4, .domains = {{.name = "t", .path = write("t", text), .valid_share = 0.1}}});
  EXPECT_EQ(text_of(corpus.domain("t").train), text.substr(0, 18));
  EXPECT_EQ(text_of(corpus.domain("t").valid), "ij");
  EXPECT_EQ(corpus.train_tokens(), 18);
}

TEST_F(CorpusFiles, WeighsDomainsBySizeEquallyOrAsGiven) {
  DataOptions options{
      .sequence = 2,
      .domains = {{.name = "a", .train = write("a", std::string(30, 'a')), .weight = 0},
                  {.name = "b", .train = write("b", std::string(10, 'b')), .weight = 0}}};
  EXPECT_DOUBLE_EQ(Corpus(options).domain("a").weight, 0.75);
  options.weights = "equal";
  EXPECT_DOUBLE_EQ(Corpus(options).domain("a").weight, 0.5);
  options.domains[1].weight = 5;
  EXPECT_THROW(Corpus{options}, ConfigError) << "nothing would read it";
  options.weights = "given";
  EXPECT_DOUBLE_EQ(Corpus(options).domain("b").weight, 1.0);
  options.domains[1].weight = 0;
  EXPECT_THROW(Corpus{options}, ConfigError);
}

TEST_F(CorpusFiles, NamesDomainPathAndLeastLengthOfWhatIsTooShort) {
  for (const auto& [path, found] : {std::pair{write("short", "abcd"), "got 4"},
                                    {write("empty", ""), "an empty file"},
                                    {(dir_ / "absent").string(), "which is none"}}) {
    const std::string message =
        message_of({.sequence = 4, .domains = {{.name = "tales", .train = path}}});
    for (const std::string part : {"'tales'", path.c_str(), "at least 5", found})
      EXPECT_NE(message.find(part), std::string::npos) << part << " in " << message;
  }
  EXPECT_EQ(
      message_of({.sequence = 3, .domains = {{.name = "tales", .train = write("just", "abcd")}}}),
      "");
}

TEST_F(CorpusFiles, RefusesContradictorySettings) {
  const std::string path = write("t", std::string(100, 't'));
  EXPECT_THROW(Corpus({.domains = {}}), ConfigError);
  EXPECT_THROW(Corpus({.sequence = 4, .domains = {{.name = "t", .train = path, .path = path}}}),
               ConfigError);
  EXPECT_THROW(Corpus({.sequence = 4, .domains = {{.name = "t"}}}), ConfigError);
  EXPECT_THROW(Corpus({.sequence = 4,
                       .domains = {{.name = "t", .train = path}, {.name = "t", .train = path}}}),
               ConfigError);
  EXPECT_THROW(
      Corpus({.sequence = 4, .domains = {{.name = "t", .train = path, .format = "jsonl"}}}),
      ConfigError);
  EXPECT_THROW(
      Corpus({.tokenizer = "word", .sequence = 4, .domains = {{.name = "t", .train = path}}}),
      ConfigError);
  EXPECT_THROW(Corpus({.sequence = 0, .domains = {{.name = "t", .train = path}}}), ConfigError);
}

TEST(SplitHead, NeverCutsACharacter) {
  const std::string text = "şşşşşşşşşş";                       // 10 characters, 20 bytes
  EXPECT_EQ(split_head(text, 0.25, false).first.size(), 14u);  // 15 bytes would end inside one
  EXPECT_EQ(split_head(text, 0.1, true).first.size(), 18u);
  const std::string mixed = "aaaaaaaaşş";  // 10 characters, 12 bytes
  EXPECT_EQ(split_head(mixed, 0.1, true).first, "aaaaaaaaş");
  EXPECT_EQ(split_head(mixed, 0.1, true).second, "ş");
  EXPECT_EQ(split_head(std::string(1115394, 'x'), 0.1, false).first.size(),
            1003854u);  // tiny Shakespeare's known split
}

TEST(PromptCompletion, MasksPromptsAndPacksDocuments) {
  const Tokens tokens = read_prompt_completion(
      "{\"prompt\": \"Q?\", \"completion\": \"A\"}\n\n"
      "{\"prompt\": \"\", \"completion\": \"\\u015f\", \"id\": 3}",
      ByteTokenizer(), "x.jsonl");
  std::string text, mask;
  for (int64_t i = 0; i < tokens.size(); ++i) {
    text += static_cast<char>(tokens[i]);
    mask += tokens.is_trained(i) ? '1' : '0';
  }
  EXPECT_EQ(text, "Q?A\n\nş\n\n");
  EXPECT_EQ(mask, "001111111");
}

TEST(PromptCompletion, NamesTheLineOfHostileInput) {
  const std::string good = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
  for (const std::string bad :
       {"{\"prompt\": \"a\"", "[1]", "{\"prompt\": 3, \"completion\": \"b\"}",
        "{\"prompt\": \"a\"}", "{\"prompt\": \"a\", \"completion\": \"\"}",
        "{\"prompt\": \"\xFF\", \"completion\": \"b\"}", "nonsense"}) {
    try {
      read_prompt_completion(good + bad, ByteTokenizer(), "x.jsonl");
      FAIL() << bad;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("line 2 of x.jsonl"), std::string::npos)
          << error.what();
    }
  }
  const std::string deep(100000, '[');
  EXPECT_THROW(read_prompt_completion(deep, ByteTokenizer(), "x.jsonl"), Error);
}

TEST_F(CorpusFiles, SplitsJsonLinesBetweenLines) {
  std::string lines;
  for (int i = 0; i < 10; ++i)
    lines += "{\"prompt\": \"p\", \"completion\": \"" + std::to_string(i) + "\"}\n";
  DataOptions options{.sequence = 4,
                      .domains = {{.name = "j",
                                   .path = write("j", lines),
                                   .valid_share = 0.25,
                                   .format = "jsonl_prompt_completion"}}};
  const Corpus corpus(options);
  EXPECT_EQ(text_of(corpus.domain("j").valid), "p7\n\np8\n\np9\n\n");
  EXPECT_EQ(corpus.domain("j").train.size() + corpus.domain("j").valid.size(), 40);
  // The line of an error counts from the top of the file, also behind the cut.
  options.domains[0].path = write("bad", lines + "oops\n");
  try {
    Corpus broken(options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("line 11 of"), std::string::npos) << error.what();
  }
}

TEST(Tokens, RefusesWindowsBeyondTheEnd) {
  const Tokens tokens(std::vector<int32_t>{1, 2, 3});
  std::vector<int64_t> out(2);
  tokens.copy(1, out);
  EXPECT_EQ(out, (std::vector<int64_t>{2, 3}));
  EXPECT_THROW(tokens.copy(2, out), Error);
  EXPECT_THROW(tokens.copy(-1, out), Error);
  EXPECT_THROW(Tokens(std::vector<int32_t>{1}, std::vector<uint8_t>{1, 1}), Error);
}

TEST(DataOptions, ReadsAListOfDomainsAndRefusesUnknownKeys) {
  Table domain;
  domain.set("name", "a");
  domain.set("path", "a.txt");
  Table table;
  table.set("domains", Array{Value(domain)});
  table.set("weights", "equal");
  DataOptions options;
  read_fields(options, table, "data");
  EXPECT_EQ(options.domains.at(0).path, "a.txt");
  EXPECT_EQ(options.weights, "equal");
  table.set("weights", "sizes");
  EXPECT_THROW(read_fields(options, table, "data"), ConfigError);
  table.set("weights", "size");
  table.set("weigths", "size");
  EXPECT_THROW(read_fields(options, table, "data"), ConfigError);
}

}  // namespace
}  // namespace moe::data
