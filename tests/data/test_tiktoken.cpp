// Tokenizers that come as a tiktoken vocabulary.

#include <fstream>
#include <map>
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/data/tokenizer.h>
#include <moe/data/tokenizers/charsmap.h>
#include <moe/data/tokenizers/regex.h>
#include <moe/data/tokenizers/tiktoken_file.h>

#include "tests/support/message_of.h"
#include "tests/support/python.h"
#include "tests/support/temporary_folder.h"

namespace moe::data {
namespace {

using nlohmann::json;
using RankedIds = std::vector<int64_t>;

/// All bytes, and then joins of two earlier tokens, each new: a vocabulary by formula.
std::vector<std::string> vocabulary_by_formula() {
  std::vector<std::string> out;
  std::map<std::string, size_t> known;
  const auto add = [&](const std::string& token) {
    if (known.try_emplace(token, out.size()).second) out.push_back(token);
  };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte * 7 & 255)));
  for (const char* token : {"aa", "bc", "ab", "aaa", "abc", " a", " the", "日", "本", "日本", "  "})
    for (size_t length = 2; length <= std::string(token).size(); ++length)
      add(std::string(token).substr(0, length));
  uint64_t state = 1;
  while (out.size() < 1200) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const size_t left = (state >> 33) % out.size();
    state = state * 6364136223846793005u + 1442695040888963407u;
    const size_t right = (state >> 33) % out.size();
    const std::string token = out[left] + out[right];
    const bool plain = token.find_first_not_of("abc the'S1") == token.npos;
    if (token.size() <= 12 && (plain || state % 31 == 0)) add(token);
  }
  return out;
}

std::string file_of(const std::vector<std::string>& tokens) {
  std::string out;
  for (size_t rank = 0; rank < tokens.size(); ++rank)
    out += encode_base64(tokens[rank]) + ' ' + std::to_string(rank) + '\n';
  return out;
}

/// tiktoken's definition word by word: a token is itself; else of all neighbours whose bytes are a
/// token the pair of lowest rank, the leftmost of equals, becomes one, until there is none.
RankedIds naive_ids(const std::map<std::string, size_t>& ranks, const std::string& word) {
  RankedIds out;
  std::vector<std::string> parts;
  if (ranks.contains(word))
    parts.push_back(word);
  else
    for (const char c : word) parts.emplace_back(1, c);
  while (true) {
    size_t best = SIZE_MAX, at = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + parts[i + 1]);
      if (found == ranks.end() || found->second >= best) continue;
      best = found->second;
      at = i;
    }
    if (best == SIZE_MAX) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  for (const auto& part : parts) out.push_back(static_cast<int64_t>(ranks.at(part)));
  return out;
}

std::vector<std::string> strings_for_tiktoken() {
  const std::vector<std::string> parts = {
      "a",      "b",         "aa", "abc",     "the",    " the",
      " ",      "  ",        "\n", "\r\n",    "'s",     "'S",
      "'ſ",     "1",         "22", "日",      "日本",   "〇",
      "々",     "⺀",        "é",  "e\u0301", "ABC",    "Abc",
      "dž",     "ʰ",         "！", "/",       "\u200D", "👩‍👩‍👧",
      "\uD7FF", "\uE000",    "\t", "\u00A0",  "한",     "-",
      "\u0001", "<|im_end|>"};
  std::mt19937_64 random(4);
  std::vector<std::string> out = {"", " ", "aaaa", "aaaaa", "abcabc"};
  for (int i = 0; i < 400; ++i) {
    std::string text;
    for (uint64_t left = random() % 14; left > 0; --left) text += parts[random() % parts.size()];
    out.push_back(text);
  }
  return out;
}

class Tiktoken : public testing::Test {
 protected:
  std::shared_ptr<const Tokenizer> kimi() {
    std::ofstream(folder_ / "tiktoken.model") << file_of(tokens_);
    const size_t n = tokens_.size();
    const json config = {
        {"tokenizer_class", "TikTokenTokenizer"},
        {"bos_token", "[BOS]"},
        {"eos_token", "[EOS]"},
        {"added_tokens_decoder",
         {{std::to_string(n), {{"content", "[BOS]"}, {"special", true}}},
          {std::to_string(n + 1), {{"content", "[EOS]"}, {"special", true}}},
          {std::to_string(n + 2), {{"content", "<|im_end|>"}, {"special", true}}}}}};
    std::ofstream(folder_ / "tokenizer_config.json") << config;
    return make_tokenizer((folder_ / "tiktoken.model").string());
  }
  std::shared_ptr<const Tokenizer> qwen() {
    std::ofstream(folder_ / "qwen.tiktoken") << file_of(tokens_);
    return make_tokenizer((folder_ / "qwen.tiktoken").string());
  }

  std::vector<std::string> tokens_ = vocabulary_by_formula();
  test::TemporaryFolder folder_;
};

TEST_F(Tiktoken, JoinsByRankAsTheDefinitionSays) {
  const auto tokenizer = kimi();
  std::map<std::string, size_t> ranks;
  for (size_t rank = 0; rank < tokens_.size(); ++rank) ranks[tokens_[rank]] = rank;
  std::mt19937_64 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::string word;  // one word of the pattern, also longer than the short way of merging
    for (uint64_t left = 1 + random() % (round % 10 == 0 ? 150 : 12); left > 0; --left)
      word += "aaabc"[random() % 5];
    ASSERT_EQ(tokenizer->encode(word), naive_ids(ranks, word)) << word;
  }
}

TEST_F(Tiktoken, HasTheSpecialTokensOfItsModel) {
  const auto tokenizer = kimi();
  const auto n = static_cast<int64_t>(tokens_.size());
  EXPECT_EQ(tokenizer->vocabulary(), n + 258);
  EXPECT_EQ(tokenizer->end_of_text(), n + 1);
  EXPECT_EQ(tokenizer->encode("<|im_end|>"), (RankedIds{n + 2}));
  const auto reserved = "<|reserved_token_" + std::to_string(n + 3) + "|>";
  EXPECT_EQ(tokenizer->encode(reserved), (RankedIds{n + 3}));
  const auto as_text = tokenizer->without_special()->encode("a<|im_end|>");
  for (const int64_t id : as_text) EXPECT_LT(id, n);
  EXPECT_EQ(tokenizer->decode_plain(as_text), "a<|im_end|>");
  EXPECT_EQ(tokenizer->decode_plain(RankedIds{n, n + 2}), "");

  std::filesystem::remove(folder_ / "tokenizer_config.json");
  const auto alone = qwen();
  EXPECT_EQ(alone->vocabulary(), n + 208);
  EXPECT_EQ(alone->end_of_text(), n);
  EXPECT_EQ(alone->encode("<|im_start|><|extra_204|>"), (RankedIds{n + 1, n + 207}));
  EXPECT_EQ(alone->decode(alone->encode("e\u0301")), "\u00E9");  // NFC
}

TEST_F(Tiktoken, IsMadeAgainByItsJsonAndComesBackFromIds) {
  const auto tokenizer = kimi();
  std::ofstream(folder_ / "kept.json") << tokenizer->tokenizer_json();
  const auto kept = read_tokenizer(folder_ / "kept.json");
  EXPECT_EQ(kept->tokenizer_json(), tokenizer->tokenizer_json());
  for (const auto& text : strings_for_tiktoken()) {
    const auto ids = tokenizer->encode(text);
    EXPECT_EQ(kept->encode(text), ids);
    EXPECT_EQ(tokenizer->decode(ids), text);
  }
}

TEST_F(Tiktoken, RefusesDamagedFilesByLine) {
  const auto refuses = [&](const std::string& content, const std::string& part) {
    const auto message = test::message_of([&] { parse_tiktoken_file(content, "'f'"); });
    EXPECT_PRED2(test::contains, message, part);
  };
  const std::string good = file_of(tokens_);
  EXPECT_EQ(parse_tiktoken_file(good, "f"), tokens_);
  std::string returns;
  for (const char c : good) returns += c == '\n' ? std::string("\r\n") : std::string(1, c);
  EXPECT_EQ(parse_tiktoken_file(returns + "\n", "f"), tokens_);
  const auto line = std::to_string(tokens_.size() + 1);
  const auto rank = std::to_string(tokens_.size());
  refuses(good + encode_base64("new token") + " 7\n",
          "every rank once, got 7 as in line 8 in line " + line);
  refuses(good + encode_base64("new token") + " 5000\n", "got 5000 in line " + line);
  refuses(good + encode_base64("aa") + ' ' + rank, "every token once");
  refuses(good + "Y!E= " + rank, "a token in base64, got 'Y!E=' in line " + line);
  refuses(good + "YWI " + rank, "a token in base64, got 'YWI'");    // not filled up
  refuses(good + "YWJ= " + rank, "a token in base64, got 'YWJ='");  // bits that stand for nothing
  refuses(good + "==== " + rank, "a token in base64");
  refuses(good + "YWIxMg== -1", "a space and its rank");
  refuses(good + "YWIxMg== 99999999999999999999999", "a space and its rank");
  refuses(good + "YWIxMg==", "in line " + line);
  refuses(good + encode_base64(std::string(2000, 'x')) + ' ' + rank, "at most 1024 bytes");
  refuses("", "256 to");
  auto without = tokens_;
  without.erase(without.begin() + 3);
  refuses(file_of(without), "for every byte");
  EXPECT_FALSE(is_tiktoken_file("\x0A\x0E\x0A\x05<unk> 1\n"));
  EXPECT_TRUE(is_tiktoken_file(good));
}

TEST_F(Tiktoken, SaysWhatIsMissingWhereNothingNamesThePattern) {
  std::ofstream(folder_ / "tiktoken.model") << file_of(tokens_);
  const auto read = [&] { read_tokenizer(folder_ / "tiktoken.model"); };
  EXPECT_ERROR(read(), "tokenizer_class");
  std::ofstream(folder_ / "tokenizer_config.json") << R"({"tokenizer_class": "OddTokenizer"})";
  EXPECT_ERROR(read(), "'OddTokenizer'");
}

TEST_F(Tiktoken, BoundsTheWaysInWhichTokensCanBeMade) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const char c : std::string("abcdefghij"))
    for (size_t length = 2; length <= 1024; ++length) tokens.emplace_back(length, c);
  std::ofstream(folder_ / "qwen.tiktoken") << file_of(tokens);
  EXPECT_ERROR(read_tokenizer(folder_ / "qwen.tiktoken"), "pairs of others make");
}

constexpr const char* kCompareTiktoken = R"(
import json, sys, unicodedata
import tiktoken, tiktoken.load
folder = sys.argv[1] + '/'
ranks = tiktoken.load.load_tiktoken_bpe(folder + 'tiktoken.model')
n = len(ranks)
case = json.load(open(folder + 'case.json', encoding='utf-8'))
names = case['names']
for kind, pattern in case['patterns'].items():
    special = {names.get(str(i), f'<|reserved_token_{i}|>'): i for i in range(n, n + 258)} if kind == 'kimi' else \
        {text: n + i for i, text in enumerate(['<|endoftext|>', '<|im_start|>', '<|im_end|>'] + [f'<|extra_{i}|>' for i in range(205)])}
    theirs = tiktoken.Encoding(name=kind, pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    for text, ids in zip(case['texts'], case[kind], strict=True):
        if kind == 'qwen':
            text = unicodedata.normalize('NFC', text)
        got = theirs.encode(text, allowed_special='all')
        assert got == ids, (kind, text, got, ids)
)";

TEST_F(Tiktoken, AgreesWithThePythonPackage) {
  if (!test::python_has("tiktoken")) GTEST_SKIP() << "python3 has no tiktoken";
  const auto n = tokens_.size();
  json out = {{"names",
               {{std::to_string(n), "[BOS]"},
                {std::to_string(n + 1), "[EOS]"},
                {std::to_string(n + 2), "<|im_end|>"}}},
              {"texts", strings_for_tiktoken()}};
  for (const char* kind : {"kimi", "qwen"}) {
    std::filesystem::remove(folder_ / "tokenizer_config.json");
    const auto tokenizer = kind == std::string("kimi") ? kimi() : qwen();
    const json document = json::parse(tokenizer->tokenizer_json());
    out["patterns"][kind] = document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"];
    for (const auto& text : strings_for_tiktoken()) out[kind].push_back(tokenizer->encode(text));
  }
  std::ofstream(folder_ / "case.json") << out;
  std::ofstream(folder_ / "check.py") << kCompareTiktoken;
  EXPECT_EQ(test::run_python(folder_ / "check.py", folder_.path()), 0);
}

constexpr const char* kReadPublished = R"(
import json, sys
from tokenizers import Tokenizer
folder = sys.argv[1] + '/'
theirs = Tokenizer.from_file(folder + 'published.json')
for text, ids in json.load(open(folder + 'case.json', encoding='utf-8')):
    got = theirs.encode(text).ids
    assert got == ids, (text, got, ids)
)";

TEST_F(Tiktoken, IsPublishedAsATokenizerJsonThatOthersRead) {
  const auto tokenizer = kimi();
  const auto files = tokenizer->published_files();
  ASSERT_TRUE(files.contains("tokenizer.json"));
  std::ofstream(folder_ / "published.json") << files.at("tokenizer.json");
  const auto again = read_tokenizer(folder_ / "published.json");
  EXPECT_EQ(again->vocabulary(), tokenizer->vocabulary());
  json cases = json::array();
  for (const auto& text : strings_for_tiktoken()) {
    // Pairs that overlap and make the same token are the one thing that merges cannot say.
    if (text.find("aa") != text.npos) continue;
    cases.push_back({text, tokenizer->encode(text)});
    EXPECT_EQ(again->encode(text), tokenizer->encode(text)) << text;
  }
  ASSERT_GT(cases.size(), 50u);
  if (!test::python_has("tokenizers")) GTEST_SKIP() << "python3 has no tokenizers";
  std::ofstream(folder_ / "case.json") << cases;
  std::ofstream(folder_ / "check.py") << kReadPublished;
  EXPECT_EQ(test::run_python(folder_ / "check.py", folder_.path()), 0);
}

}  // namespace
}  // namespace moe::data
