// Wherever text is cut for threads, tokens are those of one thread: hostile white space, every
// reader.
#include <algorithm>
#include <random>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/data/bpe/bpe_encoder.h>
#include <moe/data/bpe/gpt2_words.h>
#include <moe/data/documents.h>
#include <moe/data/json_lines.h>

#include "tests/support/tiny_bpe.h"

namespace moe::data {
namespace {

using SplitIds = std::vector<int64_t>;
using SplitWords = std::vector<std::string_view>;

SplitWords split_words_of(std::string_view text) {
  SplitWords out;
  while (!text.empty()) {
    out.push_back(text.substr(0, gpt2_word_length(text)));
    text.remove_prefix(out.back().size());
  }
  return out;
}

/// Expects every border of `text` to divide it into parts whose words are those of the whole, and
/// returns how many there are.
int expect_borders(const std::string& text) {
  const std::string_view whole = text;
  const SplitWords expected = split_words_of(whole);
  int borders = 0;
  for (size_t at = 1; at < text.size(); ++at) {
    if (gpt2_word_border(whole, at) != at) continue;
    ++borders;
    SplitWords parts = split_words_of(whole.substr(0, at));
    for (const auto& word : split_words_of(whole.substr(at))) parts.push_back(word);
    EXPECT_EQ(parts, expected) << ::testing::PrintToString(text) << " at " << at;
  }
  return borders;
}

TEST(Gpt2WordBorder, DividesEveryShortTextIntoPartsWithTheWordsOfTheWhole) {
  const std::vector<std::string> alphabet = {" ", "\n", "\r", "\u3000",   "a",
                                             "1", "!",  "'s", "\xE2\x82", "日"};
  int borders = 0;
  for (size_t length = 1; length <= 5; ++length) {
    std::vector<size_t> letters(length, 0);
    for (bool more = true; more;) {
      std::string text;
      for (const size_t letter : letters) text += alphabet[letter];
      borders += expect_borders(text);
      if (::testing::Test::HasFailure()) return;
      more = false;
      for (size_t i = 0; i < length && !more; ++i)
        more = (letters[i] = (letters[i] + 1) % alphabet.size()) != 0;
    }
  }
  EXPECT_GT(borders, 50000);
}

TEST(Gpt2WordBorder, IsBeforeARunOfWhiteSpaceAndNeverInIt) {
  for (const std::string text : {"\n\nfoo", " \nfoo", "\r\nfoo", "\nfoo", " \n \n", "foo"})
    EXPECT_EQ(gpt2_word_border(text, 1), text.size()) << ::testing::PrintToString(text);
  EXPECT_EQ(gpt2_word_border("x\n\nfoo", 0), 1u);
  EXPECT_EQ(gpt2_word_border("x\r\nfoo bar", 2), 6u);
  EXPECT_EQ(gpt2_word_border("日\nfoo", 0), 3u);         // behind a character of three bytes
  EXPECT_EQ(gpt2_word_border("a\u3000\nfoo", 0), 8u);    // behind white space of three bytes: none
  EXPECT_EQ(gpt2_word_border("a\xE3\x80\nfoo", 0), 3u);  // behind half a character
}

/// Words between runs of white space of every kind and length, with special tokens and bytes that
/// are no UTF-8.
std::string hostile_space(size_t bytes, uint64_t seed) {
  const std::vector<std::string> spaces = {" ", "\n", "\r\n", "\t", "\u00A0", "\u3000", "\v\f"};
  const std::vector<std::string> words = {"foo",    "it's",          "42",   "...",
                                          "日本語", "<|endoftext|>", "\xFF", "=="};
  std::mt19937_64 random(seed);
  std::string out;
  while (out.size() < bytes) {
    for (uint64_t left = random() % 5; left > 0; --left) {
      const size_t kinds = random() % 2 ? 2 : spaces.size();
      const std::string& space = spaces[random() % kinds];
      for (uint64_t times = 1 + random() % 3; times > 0; --times) out += space;
    }
    out += words[random() % words.size()];
  }
  return out;
}

/// A vocabulary with tokens for runs of white space, so that a run cut elsewhere has other ids.
BpeModel space_model() {
  return test::tiny_bpe(hostile_space(40000, 1), 700, {"<|endoftext|>"});
}

SplitIds ids_of_chunks(const BpeTokenizer& tokenizer, std::string_view text, int64_t threads,
                       size_t chunk) {
  SplitIds out;
  encode_in_parallel(
      tokenizer, text, threads,
      [&](std::span<const int64_t> ids) { out.insert(out.end(), ids.begin(), ids.end()); }, chunk);
  return out;
}

TEST(ThreadSplits, HostileWhiteSpaceHasTheIdsOfOneThread) {
  for (const bool prefix : {false, true}) {
    BpeModel model = space_model();
    model.add_prefix_space = prefix;
    const BpeTokenizer tokenizer(model, "t");
    if (!prefix) {  // else the test would pass with any cut
      for (const std::string run : {"\n\n", "  ", " \n", "\r\n"})
        EXPECT_EQ(tokenizer.encode(run).size(), 1u) << ::testing::PrintToString(run);
    }
    for (const std::string text : {"\n\nfoo", " \nfoo", "\r\nfoo", "foo\n\n\nfoo", "foo \n\n foo",
                                   "foo\r\n\r\nfoo", "日\n\nfoo", "\n \n\nfoo\n\n"})
      for (const size_t chunk : {1, 2, 3, 4, 5})
        EXPECT_EQ(ids_of_chunks(tokenizer, text, 3, chunk), tokenizer.encode(text))
            << ::testing::PrintToString(text) << ' ' << chunk;
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const std::string text = hostile_space(3000, seed);
      const SplitIds expected = tokenizer.encode(text);
      for (const size_t chunk : {1, 2, 7, 64, 1000})
        for (const int64_t threads : {1, 2, 5})
          ASSERT_EQ(ids_of_chunks(tokenizer, text, threads, chunk), expected)
              << seed << ' ' << chunk << ' ' << threads;
    }
  }
}

void expect_same_split(const Tokens& a, const Tokens& b) {
  ASSERT_EQ(a.size(), b.size());
  SplitIds first(static_cast<size_t>(a.size())), second = first;
  a.copy(0, first);
  b.copy(0, second);
  EXPECT_EQ(first, second);
  EXPECT_TRUE(std::ranges::equal(a.starts(), b.starts()));
  ASSERT_EQ(a.is_masked(), b.is_masked());
  for (int64_t i = 0; a.is_masked() && i < a.size(); ++i)
    ASSERT_EQ(a.is_trained(i), b.is_trained(i)) << i;
}

/// JSON lines whose fields are pieces of `text`.
std::string lines_of(const std::string& text) {
  std::string out;
  for (size_t begin = 0; begin < text.size(); begin += 150) {
    const nlohmann::json line = {{"text", text.substr(begin, 150)},
                                 {"prompt", text.substr(begin, 50)},
                                 {"completion", text.substr(begin + 1, 90) + "."}};
    out += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  return out;
}

TEST(ThreadSplits, EveryReaderGivesTheTokensOfOneThread) {
  const BpeTokenizer bpe(space_model(), "t");
  const auto plain = bpe.without_special();
  // Beyond what one thread takes in a turn, of a text and of many documents.
  const std::string text = hostile_space(700000, 7), short_text = text.substr(0, 250000),
                    lines = lines_of(short_text);
  for (const Tokenizer* tokenizer : {static_cast<const Tokenizer*>(&bpe), plain.get()})
    for (const bool apart : {false, true})
      for (const bool end : {false, true})
        for (const char* documents :
             {"file", "blank_line", "line", "separator", "jsonl_text", "jsonl_prompt_completion"}) {
          SCOPED_TRACE(concat(documents, ' ', apart, ' ', end));
          const std::string kind = documents;
          PackingOptions packing;
          packing.documents = kind.starts_with("jsonl") ? "file" : kind;
          if (kind == "separator") packing.separator = "==";
          packing.end_of_text = end;
          packing.attention = apart ? "document" : "stream";
          const auto read = [&](int64_t threads) {
            const auto layout = make_layout(packing, *tokenizer, threads);
            if (kind == "jsonl_text") return read_json_texts(lines, *tokenizer, "x", 1, layout);
            if (kind == "jsonl_prompt_completion")
              return read_prompt_completion(lines, *tokenizer, "x", 1, layout);
            return tokens_of_documents(nullptr, kind == "file" ? text : short_text, *tokenizer,
                                       layout);
          };
          const Tokens one = read(1);
          for (const int64_t threads : {2, 5}) expect_same_split(read(threads), one);
        }
}

TEST(ThreadSplits, AVocabularyDoesNotDependOnThreads) {
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const std::string one = write_tokenizer_json(space_model());
  at::set_num_threads(4);
  EXPECT_EQ(write_tokenizer_json(space_model()), one);
  at::set_num_threads(before);
}

TEST(ThreadSplits, WarAndPeaceHasTheTokensOfOneThread) {
  const Path path = Path(MOE_SHARED_DIR) / "data" / "war-and-peace" / "war_and_peace.txt";
  if (!real_files().exists(path)) GTEST_SKIP() << "there is no " << path;
  const std::string text = read_file(real_files(), path, 1u << 26);
  const BpeTokenizer tokenizer(test::tiny_bpe(text.substr(0, 400000), 800), "t");
  const SplitIds one = tokenizer.encode(text);
  for (const int64_t threads : {2, 3}) {
    SplitIds found;
    tokenizer.encode_in_parts(text, threads, [&](std::span<const int64_t> ids) {
      found.insert(found.end(), ids.begin(), ids.end());
    });
    EXPECT_EQ(found, one);
  }
}

}  // namespace
}  // namespace moe::data
