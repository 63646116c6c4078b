#include <array>
#include <map>
#include <random>
#include <tuple>

#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/data/bpe/byte_letters.h>
#include <moe/data/bpe/gpt2_words.h>

#include "tests/support/message_of.h"
#include "tests/support/tiny_bpe.h"

namespace moe::data {
namespace {

using IdPair = std::pair<uint32_t, uint32_t>;
using IdPairs = std::vector<IdPair>;

IdPairs bpe_pairs_of(const BpeModel& model) {
  IdPairs out;
  for (const auto& merge : model.merges) out.emplace_back(merge.left, merge.right);
  return out;
}

/// Training as its definition says: every pair is counted anew before every merge.
IdPairs train_by_definition(std::string_view text, int64_t vocabulary, int64_t min_count) {
  std::array<uint32_t, 256> id_of_byte = {};
  for (uint32_t i = 0; i < 256; ++i) id_of_byte[bytes_in_letter_order()[i]] = i;
  std::vector<std::vector<uint32_t>> words;
  while (!text.empty()) {
    const size_t length = gpt2_word_length(text);
    words.emplace_back();
    for (const char c : text.substr(0, length))
      words.back().push_back(id_of_byte[static_cast<unsigned char>(c)]);
    text.remove_prefix(length);
  }
  IdPairs merges;
  for (auto next = uint32_t{256}; next < vocabulary; ++next) {
    std::map<IdPair, int64_t> counts;  // in order of ids, so the first of the largest is meant
    for (const auto& word : words)
      for (size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
    IdPair best;
    int64_t count = 0;
    for (const auto& [pair, times] : counts)
      if (times > count) std::tie(best, count) = std::pair(pair, times);
    if (count < min_count || count == 0) break;
    merges.push_back(best);
    for (auto& word : words) {
      std::vector<uint32_t> merged;
      for (size_t i = 0; i < word.size(); ++i) {
        const bool here = i + 1 < word.size() && IdPair(word[i], word[i + 1]) == best;
        merged.push_back(here ? next : word[i]);
        i += here;
      }
      word = merged;
    }
  }
  return merges;
}

TEST(BpeTrainer, MergesAsTheDefinitionSays) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 60; ++round) {
    // Few letters make long runs, overlaps and many ties.
    const std::string alphabet = round % 2 ? "ab  " : "abcdeş \n";
    std::string text;
    for (uint64_t left = 20 + random() % 400; left > 0; --left)
      text += alphabet[random() % alphabet.size()];
    const int64_t min_count = 1 + round % 3;
    BpeTrainer trainer({.vocabulary = 320, .min_count = min_count});
    trainer.add(text);
    EXPECT_EQ(bpe_pairs_of(trainer.train()), train_by_definition(text, 320, min_count)) << text;
  }
  const std::string text = test::mixed_text();
  EXPECT_EQ(bpe_pairs_of(test::tiny_bpe(text, 400)), train_by_definition(text, 400, 2));
}

TEST(BpeTrainer, TakesTheSmallerIdsOfPairsThatOccurEquallyOften) {
  const BpeModel model = test::tiny_bpe("xy ab xy ab", 257);
  ASSERT_EQ(model.merges.size(), 1u);
  EXPECT_EQ(model.tokens[256], "ab");
}

TEST(BpeTrainer, PutsSpecialTokensFirstThenBytesThenMerges) {
  const BpeModel model = test::tiny_bpe("to be or not to be", 260, {"<|end|>", "<|pad|>"});
  ASSERT_EQ(model.tokens.size(), 260u);
  EXPECT_EQ(model.tokens[0], "<|end|>");
  EXPECT_EQ(model.tokens[1], "<|pad|>");
  EXPECT_EQ(model.tokens[2], "!");
  EXPECT_EQ(model.tokens[2 + 220], " ");
  for (const auto& merge : model.merges)
    EXPECT_EQ(model.tokens[merge.result], model.tokens[merge.left] + model.tokens[merge.right]);
  ASSERT_EQ(model.added.size(), 2u);
  EXPECT_EQ(model.added[1].id, 1u);
  EXPECT_TRUE(model.added[1].special);
}

TEST(BpeTrainer, LearnsNothingAcrossOrFromSpecialTokens) {
  const BpeModel with = test::tiny_bpe("ab<|end|>ab<|end|>ab<|end|>", 300, {"<|end|>"});
  ASSERT_EQ(with.merges.size(), 1u);
  EXPECT_EQ(with.tokens.back(), "ab");
}

TEST(BpeTrainer, DoesNotDependOnHowTextIsAdded) {
  const std::string text = test::mixed_text();
  BpeTrainer parts({.vocabulary = 400});
  const size_t cut = text.find(" cat", text.size() / 2);  // between two words
  parts.add(text.substr(cut));
  parts.add(text.substr(0, cut));
  const BpeModel whole = test::tiny_bpe(text, 400);
  EXPECT_EQ(write_tokenizer_json(parts.train()), write_tokenizer_json(whole));
}

TEST(BpeTrainer, EndsEarlyWhenNothingIsLeftToMerge) {
  const BpeModel model = test::tiny_bpe("abc abc", 10000);
  EXPECT_LT(model.tokens.size(), 264u);
  EXPECT_EQ(test::tiny_bpe("", 300).tokens.size(), 256u);
}

TEST(BpeTrainer, CountsAWordWithoutEndInPieces) {
  BpeTrainer trainer({.vocabulary = 300});
  trainer.add(std::string(1 << 20, 'a'));
  EXPECT_EQ(trainer.different_words(), 1);
  EXPECT_EQ(trainer.train().tokens.back().size(), 256u);
}

TEST(BpeTrainer, RefusesSettingsThatCannotBe) {
  const auto refused = [](const BpeTrainerOptions& options, const std::string& part) {
    EXPECT_THROW(BpeTrainer{options}, ConfigError);
    EXPECT_ERROR(BpeTrainer{options}, part);
  };
  refused({.vocabulary = 255}, "expected a vocabulary in [256,");
  refused({.vocabulary = 256, .special = {"<|a|>"}}, "expected a vocabulary in [257,");
  refused({.vocabulary = int64_t{1} << 40}, "expected a vocabulary in");
  refused({.vocabulary = 300, .min_count = 0}, "least count");
  for (const char* special : {"", "a", "é", "\xFF\xFF", "«a»", "Ġthe"})
    refused({.vocabulary = 300, .special = {special}}, "special tokens of 2 to 1024 bytes");
  refused({.vocabulary = 300, .special = {"<|a|>", "<|a|>"}}, "twice");
}

}  // namespace
}  // namespace moe::data
