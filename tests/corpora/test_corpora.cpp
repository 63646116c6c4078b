#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_set>
#include <utility>

#include <gtest/gtest.h>

#include <corpora/corpora.h>
#include <corpora/pattern.h>
#include <corpora/toy_program.h>
#include <moe/base/error.h>
#include <moe/base/random.h>
#include <moe/data/utf8.h>

namespace moe::corpora {
namespace {

constexpr Options kSmall{.seed = 1, .bytes_per_domain = 300000, .validation_share = 0.1};

std::vector<std::string> parts_of(const std::string& text, const std::string& separator) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    begin = end + separator.size();
  }
  return out;
}

struct Equation {
  int64_t a, b;
  char sign;
  std::optional<int64_t> result;
};

/// Every "a + b" (- * /) in `text`, with what follows "=" when something does.
std::vector<Equation> equations_of(const std::string& text) {
  std::vector<Equation> out;
  const auto digit = [&](size_t i) {
    return i < text.size() && std::isdigit(static_cast<unsigned char>(text[i]));
  };
  for (size_t i = 1; i + 2 < text.size(); ++i) {
    if (std::string_view("+-*/").find(text[i]) == std::string_view::npos || text[i - 1] != ' ' ||
        text[i + 1] != ' ' || !digit(i - 2) || !digit(i + 2))
      continue;
    size_t begin = i - 2;
    while (begin > 0 && digit(begin - 1)) --begin;
    size_t end = i + 2;
    while (digit(end)) ++end;
    Equation e{std::stoll(text.substr(begin)), std::stoll(text.substr(i + 2)), text[i], {}};
    if (text.compare(end, 3, " = ") == 0) e.result = std::stoll(text.substr(end + 3));
    out.push_back(e);
  }
  return out;
}

class EveryDomain : public testing::TestWithParam<const char*> {
 protected:
  std::string train_ = make_domain(GetParam(), Split::kTrain, kSmall);
  std::string valid_ = make_domain(GetParam(), Split::kValidation, kSmall);
};

TEST_P(EveryDomain, HasTheBytesAskedForInWholeDistinctDocuments) {
  EXPECT_NEAR(static_cast<double>(train_.size()), 270000, 2000);
  EXPECT_NEAR(static_cast<double>(valid_.size()), 30000, 2000);
  for (const auto& text : {train_, valid_}) {
    EXPECT_TRUE(text.ends_with("\n\n"));
    const auto documents = parts_of(text, "\n\n");
    EXPECT_EQ(std::set<std::string>(documents.begin(), documents.end()).size(), documents.size());
    for (const auto& document : documents) ASSERT_FALSE(document.empty());
  }
}

TEST_P(EveryDomain, IsValidUtf8WithoutLeftoverPatternSigns) {
  data::Utf8Stream stream;
  EXPECT_EQ(stream.push(train_), train_);
  EXPECT_EQ(stream.flush(), "");
  // Programs compare with <; stories must have none of the grammar's signs left.
  if (std::string(GetParam()) != "programs") {
    EXPECT_EQ(train_.find_first_of("[]{}<>|^~"), std::string::npos);
  }
  EXPECT_EQ(train_.find("  ") != std::string::npos, std::string(GetParam()) == "programs");
}

TEST_P(EveryDomain, HasNoValidationDocumentInTraining) {
  for (const auto& document : parts_of(valid_, "\n\n"))
    ASSERT_EQ(train_.find(document), std::string::npos) << document;
}

TEST_P(EveryDomain, DependsOnTheSeedOnly) {
  EXPECT_EQ(make_domain(GetParam(), Split::kTrain, kSmall), train_);
  Options other = kSmall;
  other.seed = 2;
  EXPECT_NE(make_domain(GetParam(), Split::kTrain, other), train_);
  // A longer corpus begins with the shorter one: documents are drawn by their index.
  Options shorter = kSmall;
  shorter.bytes_per_domain = 100000;
  EXPECT_TRUE(train_.starts_with(make_domain(GetParam(), Split::kTrain, shorter)));
}

INSTANTIATE_TEST_SUITE_P(Corpora, EveryDomain,
                         testing::Values("english", "turkish", "arithmetic", "programs"),
                         [](const auto& info) { return std::string(info.param); });

TEST(CorporaStories, ShareNoLongLineBetweenSplitsAndHaveThousandsOfSentences) {
  for (const char* domain : {"english", "turkish"}) {
    const std::string train = make_domain(domain, Split::kTrain, kSmall);
    const auto train_lines = parts_of(train, "\n");
    const std::unordered_set<std::string> known(train_lines.begin(), train_lines.end());
    for (const auto& line : parts_of(make_domain(domain, Split::kValidation, kSmall), "\n")) {
      if (line.size() >= 40) {
        ASSERT_FALSE(known.contains(line)) << line;
      }
    }
    std::set<std::string> sentences;
    for (const auto& document : parts_of(train, "\n\n"))
      for (const auto& sentence : parts_of(document, ". ")) sentences.insert(sentence);
    EXPECT_GT(sentences.size(), 3000u) << domain;
  }
}

TEST(CorporaArithmetic, IsRightAndSharesNoOperandPair) {
  std::set<std::pair<int64_t, int64_t>> pairs[2];
  for (const auto split : {Split::kTrain, Split::kValidation}) {
    const auto documents = parts_of(make_domain("arithmetic", split, kSmall), "\n\n");
    for (const auto& document : documents) {
      const auto equations = equations_of(document);
      for (const auto& e : equations) {
        pairs[split == Split::kTrain].insert(std::minmax(e.a, e.b));
        const int64_t value = e.sign == '+'   ? e.a + e.b
                              : e.sign == '-' ? e.a - e.b
                              : e.sign == '*' ? e.a * e.b
                                              : e.a / e.b;
        if (e.result) {
          ASSERT_EQ(*e.result, value) << document;
        }
        if (equations.size() == 1) {
          ASSERT_NE(document.find("Answer: " + std::to_string(value)), std::string::npos)
              << document;
        }
      }
    }
  }
  EXPECT_GT(pairs[0].size(), 50u);
  EXPECT_GT(pairs[1].size(), 500u);
  for (const auto& pair : pairs[0])
    EXPECT_FALSE(pairs[1].contains(pair)) << pair.first << ", " << pair.second;
}

TEST(CorporaPrograms, InterpreterFollowsPython) {
  using namespace toy;
  const Program divisions = {
      assign(0, number(-7)),
      print({binary(variable(0), "//", number(2)), binary(variable(0), "%", number(3))}, "floor")};
  EXPECT_EQ(run(divisions), "floor -4 2");
  EXPECT_EQ(source(divisions, {"a"}), "a = -7\nprint(\"floor\", a // 2, a % 3)");
  const Program loop = {assign(0, number(0)),
                        for_range(1, number(1), number(4),
                                  {if_then(binary(variable(1), "!=", number(2)),
                                           {assign(0, binary(variable(0), "+", variable(1)))},
                                           {print({variable(0)})})}),
                        print({variable(0), variable(1)})};
  EXPECT_EQ(run(loop), "1\n4 3");
  EXPECT_EQ(source(loop, {"s", "i"}),
            "s = 0\nfor i in range(1, 4):\n    if i != 2:\n        s = s + i\n    else:\n        "
            "print(s)\nprint(s, i)");
}

TEST(CorporaPrograms, InterpreterGivesUpOnEndlessWrongOrSilentPrograms) {
  using namespace toy;
  EXPECT_FALSE(run({while_loop(number(1), {assign(0, number(1))})}));
  EXPECT_FALSE(run({print({variable(0)})}));
  EXPECT_FALSE(run({print({binary(number(1), "//", number(0))})}));
  EXPECT_FALSE(run({print({binary(number(999999), "*", number(2))})}));
  EXPECT_FALSE(run({for_range(0, number(0), number(50), {print({variable(0)})})}));
  EXPECT_FALSE(run({assign(0, number(1))}));
}

TEST(CorporaPattern, DrawsAlternativesAndFillsSlots) {
  Draw draw(RandomStream({.seed = 1}, Purpose::kTest), false);
  const Slots slots = [](char kind, std::string_view name) { return kind + std::string(name); };
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) seen.insert(expand("a[|b[c|d]]", draw, slots));
  EXPECT_EQ(seen, (std::set<std::string>{"a", "abc", "abd"}));
  EXPECT_EQ(expand("x y", draw, slots), "x y");
  EXPECT_THROW(expand("a [b", draw, slots), Error);
}

// The text is the same on every machine and with every compiler. Who changes a grammar changes
// these.
TEST(Corpora, TextIsTheSameEverywhere) {
  const Options options{.seed = 1, .bytes_per_domain = 200000, .validation_share = 0.1};
  const std::pair<const char*, uint64_t> expected[] = {{"english", 0x6ed964db4f3c9395ull},
                                                       {"turkish", 0x20494e44783fc6eeull},
                                                       {"arithmetic", 0xa877f19412ca60b3ull},
                                                       {"programs", 0x96746f8334f1ff13ull}};
  for (const auto& [domain, hash] : expected)
    EXPECT_EQ(hash_name(make_domain(domain, Split::kTrain, options)), hash) << domain;
}

TEST(Corpora, RefusesUnknownDomainsAndImpossibleOptions) {
  EXPECT_THROW(make_domain("englisch", Split::kTrain, kSmall), ConfigError);
  EXPECT_THROW(make_domain("english", Split::kTrain, {.bytes_per_domain = 1}), ConfigError);
  EXPECT_THROW(make_domain("english", Split::kTrain, {.validation_share = 1}), ConfigError);
}

TEST(Corpora, ChecksumsFindChangedAndMissingFiles) {
  const auto dir = std::filesystem::path(testing::TempDir()) / "moe_corpora";
  std::filesystem::remove_all(dir);
  write(dir.string(), {.bytes_per_domain = 20000});
  EXPECT_NO_THROW(verify(dir.string()));
  const auto victim = dir / "turkish" / "valid.txt";
  std::ofstream(victim, std::ios::app) << "x";
  EXPECT_THROW(verify(dir.string()), Error);
  std::filesystem::remove(victim);
  EXPECT_THROW(verify(dir.string()), Error);
  std::filesystem::remove_all(dir);
  EXPECT_THROW(verify(dir.string()), Error);
}

}  // namespace
}  // namespace moe::corpora
