#include <atomic>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/bpe/gpt2_words.h>
#include <moe/data/tokens.h>
#include <moe/data/utf8.h>

#include "tests/support/message_of.h"
#include "tests/support/tiny_bpe.h"

namespace moe::data {
namespace {

using BpeIds = std::vector<int64_t>;

BpeModel mixed_model() {
  return test::tiny_bpe(test::mixed_text(), 380, {"<|endoftext|>", "<|end|>", "<|end|>of"});
}

/// The id of the token with these bytes.
int64_t id_of_bytes(const BpeModel& model, const std::string& bytes) {
  for (size_t id = 0; id < model.tokens.size(); ++id)
    if (model.tokens[id] == bytes) return static_cast<int64_t>(id);
  return -1;
}

/// Merging as its definition says: the pair of lowest rank, leftmost first, one at a time.
BpeIds merge_by_definition(const BpeModel& model, std::string_view word) {
  BpeIds ids;
  for (const char c : word) ids.push_back(id_of_bytes(model, std::string(1, c)));
  for (;;) {
    size_t best_rank = model.merges.size(), best = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i)
      for (size_t rank = 0; rank < best_rank; ++rank)
        if (model.merges[rank].left == ids[i] && model.merges[rank].right == ids[i + 1]) {
          best_rank = rank;
          best = i;
        }
    if (best_rank == model.merges.size()) return ids;
    ids[best] = model.merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(BpeTokenizer, MergesWordsOfAnyLengthByRank) {
  BpeModel model = test::tiny_bpe("abab aabb abba aaaa bbbb abaabb aaabbb babab aabab", 300);
  model.use_regex = false;
  const BpeTokenizer tokenizer(model, "t");
  std::mt19937_64 random(3);
  // On both sides of the length from which on merges come off a heap.
  for (const size_t length : {1, 2, 3, 7, 26, 27, 47, 48, 49, 50, 120, 300})
    for (int round = 0; round < 20; ++round) {
      std::string word;
      while (word.size() < length) word += "ab b"[random() % 4];
      EXPECT_EQ(tokenizer.encode(word), merge_by_definition(model, word)) << word;
    }
}

TEST(BpeTokenizer, EncodesWordByWord) {
  const BpeModel model = mixed_model();
  const BpeTokenizer tokenizer(model, "t");
  const std::string text = test::mixed_text().substr(0, 600);
  BpeIds expected;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t length = gpt2_word_length(rest);
    for (const int64_t id : merge_by_definition(model, rest.substr(0, length)))
      expected.push_back(id);
    rest.remove_prefix(length);
  }
  EXPECT_EQ(tokenizer.encode(text), expected);
  EXPECT_EQ(tokenizer.encode(text), expected);  // from the cache now
  EXPECT_LT(expected.size(), text.size());
}

TEST(BpeTokenizer, RoundTripsAnyBytes) {
  const BpeTokenizer tokenizer(mixed_model(), "t");
  std::mt19937_64 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string bytes;
    for (uint64_t left = random() % 300; left > 0; --left)
      bytes += static_cast<char>(round % 2 ? random() % 256 : random() % 8 * 31);
    const auto ids = tokenizer.encode(bytes);
    for (const int64_t id : ids) EXPECT_TRUE(id >= 0 && id < tokenizer.vocabulary());
    EXPECT_EQ(tokenizer.decode(ids), bytes);
  }
}

TEST(BpeTokenizer, RoundTripsTextOfManyScripts) {
  const BpeTokenizer tokenizer(mixed_model(), "t");
  for (const std::string text :
       {"", " ", "\n", "İstanbul'da ığdır", "Ελληνικά κείμενο", "Съешь ещё этих булок", "ภาษาไทย",
        "हिन्दी में पाठ", "日本語、中文和한국어", "السلام عليكم", "עברית",
        "👩‍👩‍👧‍👦 🏳️‍🌈", "e\u0301\u0301", "a\u3000b\u00A0c\u2028d",
        "<|endoftext|><|end", "Ġthe Ċ are letters, not bytes"})
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
}

TEST(BpeTokenizer, DecodesTokenByTokenIntoAStream) {
  const BpeTokenizer tokenizer(mixed_model(), "t");
  const std::string text = "naïve 語🙂 şu <|end|> ağaç";
  Utf8Stream stream;
  std::string out;
  for (const int64_t id : tokenizer.encode(text)) out += stream.push(tokenizer.decode({&id, 1}));
  EXPECT_EQ(out + stream.flush(), text);
}

TEST(BpeTokenizer, FindsAddedTokensBeforeWords) {
  const BpeModel model = mixed_model();  // ids 0, 1, 2 are <|endoftext|>, <|end|>, <|end|>of
  const BpeTokenizer tokenizer(model, "t");
  EXPECT_EQ(tokenizer.encode("<|endoftext|><|end|>"), (BpeIds{0, 1}));
  EXPECT_EQ(tokenizer.encode("<|end|>of<|end|>o")[0], 2);  // the longest of those that fit
  EXPECT_EQ(tokenizer.encode("<|end|>of<|end|>o")[1], 1);
  // Words do not reach across: "it's" beside the token is divided as it is by itself.
  BpeIds expected = tokenizer.encode("it's ");
  expected.push_back(0);
  for (const int64_t id : tokenizer.encode("'s it")) expected.push_back(id);
  EXPECT_EQ(tokenizer.encode("it's <|endoftext|>'s it"), expected);
}

TEST(BpeTokenizer, LeavesSpecialTokensOutOfPlainText) {
  BpeModel model = mixed_model();
  model.added[1].special = false;
  const BpeTokenizer tokenizer(model, "t");
  const auto ids = tokenizer.encode("a<|endoftext|>b<|end|>c");
  EXPECT_EQ(tokenizer.decode(ids), "a<|endoftext|>b<|end|>c");
  EXPECT_EQ(tokenizer.decode_plain(ids), "ab<|end|>c");
}

TEST(BpeTokenizer, LooksForNormalizedTokensInWhatTheOthersLeave) {
  BpeModel model = mixed_model();
  model.tokens[0] = model.added[0].text = "x<|end|";
  model.added[0].normalized = true;
  const BpeTokenizer tokenizer(model, "t");
  // Alone it is found; where another token begins inside it, that one comes first.
  EXPECT_EQ(tokenizer.encode("x<|end|"), (BpeIds{0}));
  EXPECT_EQ(tokenizer.encode("x<|end|>"), (BpeIds{id_of_bytes(model, "x"), 1}));
}

TEST(BpeTokenizer, PutsASpaceBeforeEachPieceWhenTheModelSaysSo) {
  const BpeTokenizer plain(mixed_model(), "plain");
  BpeModel model = mixed_model();
  model.add_prefix_space = true;
  const BpeTokenizer tokenizer(model, "t");
  EXPECT_EQ(tokenizer.encode("cat"), plain.encode(" cat"));
  EXPECT_EQ(tokenizer.encode(" cat"), plain.encode(" cat"));
  EXPECT_EQ(tokenizer.encode("\ncat"), plain.encode(" \ncat"));
  EXPECT_EQ(tokenizer.encode("cat<|end|>cat"), plain.encode(" cat<|end|> cat"));
  EXPECT_EQ(tokenizer.encode(""), BpeIds{});
}

TEST(BpeTokenizer, TakesAWholeWordWhenTheModelIgnoresMerges) {
  BpeModel model = test::tiny_bpe("ab ab ab", 257);
  model.tokens.push_back("abab");  // no merge makes it
  const BpeTokenizer merging(model, "merging");
  model.ignore_merges = true;
  const BpeTokenizer whole(model, "whole");
  EXPECT_EQ(merging.encode("abab"), (BpeIds{256, 256}));
  EXPECT_EQ(whole.encode("abab"), (BpeIds{257}));
  EXPECT_EQ(whole.encode("ababab"), (BpeIds{256, 256, 256}));
}

TEST(BpeTokenizer, KeepsTheCachesOfTokenizersAndThreadsApart) {
  const BpeTokenizer small(test::tiny_bpe("the the", 257), "small");
  const BpeTokenizer large(mixed_model(), "large");
  const std::string text = test::mixed_text();
  const auto expected_small = small.encode(text), expected_large = large.encode(text);
  EXPECT_NE(expected_small, expected_large);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 5; ++round)
        wrong += (small.encode(text) != expected_small) + (large.encode(text) != expected_large);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(BpeTokenizer, HandsOnIdsInParts) {
  const BpeTokenizer tokenizer(mixed_model(), "t");
  std::string text;
  while (text.size() < 400000) text += test::mixed_text();
  BpeIds all;
  int parts = 0;
  tokenizer.encode_in_parts(text, 1, [&](std::span<const int64_t> ids) {
    all.insert(all.end(), ids.begin(), ids.end());
    ++parts;
  });
  EXPECT_GT(parts, 1);
  EXPECT_EQ(all, tokenizer.encode(text));
  EXPECT_EQ(tokenizer.decode(all), text);
}

TEST(BpeTokenizer, RefusesIdsOutOfRangeAndModelsThatCannotBe) {
  const BpeTokenizer tokenizer(mixed_model(), "mine");
  EXPECT_ERROR(tokenizer.decode(BpeIds{380}), "expected tokens in [0, 380)");
  EXPECT_ERROR(tokenizer.decode_plain(BpeIds{-1}), "'mine'");
  BpeModel model = mixed_model();
  model.merges[0].result = 600;
  EXPECT_ERROR(BpeTokenizer(model, "t"), "ids of merges");
  model = mixed_model();
  model.merges[0].result = model.merges[1].result;
  EXPECT_ERROR(BpeTokenizer(model, "t"), "join the bytes of its two tokens");
  model = mixed_model();
  model.merges[1] = model.merges[0];
  EXPECT_ERROR(BpeTokenizer(model, "t"), "every merge once");
  model = mixed_model();
  model.added[0].id = 700;
  EXPECT_ERROR(BpeTokenizer(model, "t"), "added token");
  EXPECT_ERROR(BpeTokenizer(BpeModel(), "t"), "a token for every byte");
}

TEST(TokensBuilder, KeepsIdsInTwoBytesWhereTheyFit) {
  for (const int64_t vocabulary :
       {int64_t{256}, int64_t{65536}, int64_t{65537}, int64_t{1} << 24}) {
    TokensBuilder builder(vocabulary);
    const BpeIds ids = {0, vocabulary / 2, vocabulary - 1};
    builder.append(ids);
    builder.append(ids);
    const Tokens tokens = std::move(builder).finish();
    ASSERT_EQ(tokens.size(), 6);
    EXPECT_EQ(tokens[2], vocabulary - 1);
    BpeIds out(3);
    tokens.copy(3, out);
    EXPECT_EQ(out, ids);
    EXPECT_THROW(tokens.copy(4, out), Error);
    EXPECT_FALSE(tokens.is_masked());
  }
}

TEST(TokensBuilder, KeepsWhichTokensAreTrained) {
  TokensBuilder builder(300);
  builder.append(BpeIds{1, 2}, false);
  builder.append(BpeIds{3}, true);
  const Tokens tokens = std::move(builder).finish();
  EXPECT_FALSE(tokens.is_trained(1));
  EXPECT_TRUE(tokens.is_trained(2));
  EXPECT_EQ(tokens.size(), 3);
}

}  // namespace
}  // namespace moe::data
