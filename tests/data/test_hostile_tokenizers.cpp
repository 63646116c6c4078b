// Files of strangers: what they make of a text is bounded by the text.

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/tokenizers/charsmap.h>
#include <moe/data/tokenizers/known_patterns.h>
#include <moe/data/tokenizers/read_tokenizer.h>
#include <moe/data/tokenizers/sentencepiece_tokenizer.h>
#include <moe/data/tokenizers/text_work.h>

#include "tests/support/message_of.h"
#include "tests/support/tiny_bpe.h"
#include "tests/support/tiny_sentencepiece.h"

namespace moe::data {
namespace {

using nlohmann::json;

std::shared_ptr<const Tokenizer> with_words(const json& splits, const json& normalizer = {}) {
  json out = json::parse(write_tokenizer_json(test::tiny_bpe("a b", 256)));
  json steps = splits;
  steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
  out["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", steps}};
  out["normalizer"] = normalizer;
  return parse_tokenizer(out.dump(), "hostile");
}

json split_at(const std::string& pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
}

json replace_by(const std::string& what, const std::string& content) {
  return {{"type", "Replace"}, {"pattern", {{"String", what}}}, {"content", content}};
}

TEST(HostileTokenizers, APatternLooksAtATextInWorkInProportionToIt) {
  const std::string text(1 << 20, 'a');
  // From every place through the rest of the text (each would take minutes to hours), and with
  // groups that are compared.
  for (const char* pattern : {"a+[bc]", "a*?[bc]", "(?:a*[bc]|a)*x", "(a+)[bc]|(a)\\1{3,}[bc]",
                              "(a*)b|(a*)\\2[bc]", "a(?=.*[bc])", "(?<=a)a+[bc]"}) {
    SCOPED_TRACE(pattern);
    const auto tokenizer = with_words(json::array({split_at(pattern)}));
    EXPECT_ERROR(tokenizer->encode(text), "work");
    EXPECT_EQ(tokenizer->encode("aab").size(), 3u);  // and goes on with other texts
  }
  // Pieces share what their text may cost.
  const auto pieces =
      with_words(json::array({split_at("[ab]"), split_at("(?:a?){40}a{40}|(?:a|aa|b)+c")}));
  EXPECT_EQ(pieces->encode(std::string(3000, 'a')).size(), 3000u);
  // Ordinary patterns have room.
  const auto ordinary =
      with_words(json::array({split_at(R"(\s?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+)")}));
  std::string mixed;
  while (mixed.size() < (1 << 20)) mixed += test::mixed_text();
  EXPECT_EQ(ordinary->decode(ordinary->encode(mixed)), mixed);
  EXPECT_EQ(ordinary->decode(ordinary->encode(text)), text);
}

TEST(HostileTokenizers, SpacesBeforeNoEndTakeLinearTime) {
  // \s+$ from each of a million spaces would look at all that follow.
  const MatchLength length = known_pattern(R"(\s+$)");
  ASSERT_NE(length, nullptr);
  const std::string text = std::string(1 << 20, ' ') + "a" + std::string(1 << 20, ' ') + "\n x  ";
  std::vector<std::pair<size_t, size_t>> found;
  divide_by(length, text, [&](size_t begin, size_t end, bool match) {
    if (match) found.emplace_back(begin, end);
  });
  const size_t behind = (1 << 20) + 1;
  EXPECT_EQ(found, (std::vector<std::pair<size_t, size_t>>{{behind, behind + (1 << 20)},
                                                           {text.size() - 2, text.size()}}));
}

TEST(HostileTokenizers, ReplacementsOfReplacementsEnd) {
  const std::string ten = "aaaaaaaaaa";
  json steps = json::array();
  for (int i = 0; i < 12; ++i) steps.push_back(replace_by("a", ten));
  const auto tokenizer = with_words(json::array(), {{"type", "Sequence"}, {"normalizers", steps}});
  EXPECT_ERROR(tokenizer->encode("aaa"), "replacements");
  EXPECT_EQ(tokenizer->encode("b").size(), 1u);
  // A map of characters whose one entry is a book: 'a' becomes 4 MB.
  const auto unit = [](uint32_t value) {
    return std::string{static_cast<char>(value), static_cast<char>(value >> 8),
                       static_cast<char>(value >> 16), static_cast<char>(value >> 24)};
  };
  // Unit 0 leads to 1; 1 ^ 'a' is the node of 'a' (leaf, offset 1), whose value is at 0x60 ^ 1.
  std::string trie;
  for (uint32_t i = 0; i < 128; ++i) {
    uint32_t value = 0;
    if (i == 0) value = 1u << 10;
    if (i == (1u ^ 'a')) value = (1u << 10) | 0x100u | 'a';
    if (i == (1u ^ 'a' ^ 1u)) value = 0x80000000u;
    trie += unit(value);
  }
  const std::string map = unit(static_cast<uint32_t>(trie.size())) + trie +
                          std::string(4 << 20, 'x') + std::string(1, '\0');
  ASSERT_EQ(Charsmap(map).shortest("ab")->replacement.size(), size_t{4} << 20);
  const auto precompiled = with_words(
      json::array(), {{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(map)}});
  EXPECT_ERROR(precompiled->encode(std::string(1000, 'a')), "replacements");
  const auto pieces =
      read_sentencepiece(test::tiny_sentencepiece(SentencePieceModel::Kind::kBpe, true) +
                             test::sentencepiece_bytes(3, test::sentencepiece_bytes(2, map)),
                         "hostile", {});
  EXPECT_ERROR(pieces->encode(std::string(1000, 'a')), "replacements");
}

TEST(HostileTokenizers, ATrieThatLeadsBackIsLookedThroughSoFar) {
  // 'a' leads to itself again and again, with a value each time.
  const auto unit = [](uint32_t value) {
    return std::string{static_cast<char>(value), static_cast<char>(value >> 8),
                       static_cast<char>(value >> 16), static_cast<char>(value >> 24)};
  };
  std::string trie;
  for (uint32_t i = 0; i < 128; ++i) trie += unit(i == 'a' ? (uint32_t{'a'} << 10) | 'a' : 0);
  const Charsmap map(unit(static_cast<uint32_t>(trie.size())) + trie + std::string("x\0", 2));
  const std::string text(size_t{1} << 20, 'a');
  for (size_t i = 0; i < text.size(); ++i) map.longest(std::string_view(text).substr(i));
  EXPECT_FALSE(map.longest(text).has_value());
}

TEST(HostileTokenizers, LongPiecesOfAModelAreRefused) {
  const auto file = test::sentencepiece_file({{std::string(10000, 'a')}},
                                             SentencePieceModel::Kind::kUnigram, false);
  EXPECT_ERROR(read_sentencepiece(file, "m", {}), "1 to 8192 bytes");
}

TEST(HostileTokenizers, HolesOfAVocabularyAreNoTokens) {
  json document = json::parse(write_tokenizer_json(test::tiny_bpe("a b", 256)));
  document["pre_tokenizer"] = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  document["normalizer"] = {{"type", "NFC"}};
  document["model"]["vocab"]["\u0120a"] = 5000;  // behind a hole
  const auto tokenizer = parse_tokenizer(document.dump(), "holes");
  EXPECT_EQ(tokenizer->vocabulary(), 5001);
  EXPECT_EQ(tokenizer->decode(std::vector<int64_t>{300, 4999}), "");
  EXPECT_EQ(tokenizer->decode(std::vector<int64_t>{5000}), " a");
  document["model"]["vocab"]["\u0120a"] = 90000000;
  EXPECT_ERROR(parse_tokenizer(document.dump(), "holes"), "ids below");
}

}  // namespace
}  // namespace moe::data
